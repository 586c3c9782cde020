//! Values on their way to PostgreSQL and back. A value takes the form of the type that a statement wants.

use std::error::Error;

use bytes::{BufMut, BytesMut};
use keyledger_events::Timestamp;
use keyledger_projections::Value;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, WrongType, to_sql_checked};
use uuid::Uuid;

type BoxError = Box<dyn Error + Sync + Send>;

/// PostgreSQL counts microseconds from 2000-01-01.
const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// One value, borrowed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cell<'a> {
    Null,
    Int(i64),
    Bool(bool),
    Text(&'a str),
    Bytes(&'a [u8]),
    Time(Timestamp),
    /// As text where text is wanted: hyphenated, lower case.
    Uuid(Uuid),
}

impl<'a> From<&'a Value> for Cell<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Int(value) => Self::Int(*value),
            Value::Bool(value) => Self::Bool(*value),
            Value::Text(value) => Self::Text(value),
            Value::Bytes(value) => Self::Bytes(value),
            Value::Time(value) => Self::Time(*value),
            Value::Uuid(value) => Self::Uuid(*value),
        }
    }
}

impl ToSql for Cell<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, BoxError> {
        match (*self, ty.clone()) {
            (Self::Null, _) => return Ok(IsNull::Yes),
            (Self::Int(value), Type::INT8) => out.put_i64(value),
            (Self::Int(value), Type::INT4) => out.put_i32(value.try_into()?),
            (Self::Bool(value), Type::BOOL) => out.put_u8(value.into()),
            (Self::Text(value), Type::TEXT | Type::VARCHAR) => out.put_slice(value.as_bytes()),
            (Self::Bytes(value), Type::BYTEA) => out.put_slice(value),
            (Self::Time(value), Type::TIMESTAMPTZ) => out.put_i64(value.0.checked_sub(EPOCH_MICROS).ok_or("a time is out of range")?),
            (Self::Uuid(value), Type::UUID) => out.put_slice(value.as_bytes()),
            (Self::Uuid(value), Type::TEXT) => out.put_slice(value.hyphenated().encode_lower(&mut Uuid::encode_buffer()).as_bytes()),
            (_, ty) => return Err(Box::new(WrongType::new::<Self>(ty))),
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// A statement's parameter: a value, or the values of one column of many rows.
#[derive(Clone, Debug)]
pub(super) enum Parameter<'a> {
    One(Cell<'a>),
    Column(Vec<Cell<'a>>),
}

impl ToSql for Parameter<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, BoxError> {
        match self {
            Self::One(cell) => cell.to_sql(ty, out),
            Self::Column(cells) => cells.to_sql_checked(ty, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// A value as read.
pub(super) struct Datum(pub(super) Value);

impl<'a> FromSql<'a> for Datum {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, BoxError> {
        Ok(Self(match *ty {
            Type::INT8 => Value::Int(i64::from_sql(ty, raw)?),
            Type::INT4 => Value::Int(i32::from_sql(ty, raw)?.into()),
            Type::INT2 => Value::Int(i16::from_sql(ty, raw)?.into()),
            Type::BOOL => Value::Bool(bool::from_sql(ty, raw)?),
            Type::TEXT | Type::VARCHAR | Type::NAME => Value::Text(String::from_sql(ty, raw)?),
            Type::BYTEA => Value::Bytes(raw.to_vec()),
            Type::TIMESTAMPTZ => Value::Time(Time::from_sql(ty, raw)?.0),
            Type::UUID => Value::Uuid(Uuid::from_slice(raw)?),
            ref other => return Err(Box::new(WrongType::new::<Self>(other.clone()))),
        }))
    }

    fn from_sql_null(_: &Type) -> Result<Self, BoxError> {
        Ok(Self(Value::Null))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// A time as read.
pub(super) struct Time(pub(super) Timestamp);

impl<'a> FromSql<'a> for Time {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, BoxError> {
        let micros = i64::from_sql(&Type::INT8, raw)?;
        Ok(Self(Timestamp(micros.checked_add(EPOCH_MICROS).ok_or("a time is out of range")?)))
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TIMESTAMPTZ
    }
}

/// A UUID as read.
pub(super) struct Id(pub(super) Uuid);

impl<'a> FromSql<'a> for Id {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, BoxError> {
        Ok(Self(Uuid::from_slice(raw)?))
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::UUID
    }
}
