//! How an operation describes itself: beside its handler, in data that [`super::openapi`] makes the document of. Whoever adds
//! a parameter, a code or a field adds it to the description above the handler.

use super::codes::Code;

/// What a parameter or a field holds.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    Text,
    Integer,
    Boolean,
    /// `0` or `1`.
    Flag,
    /// A point in time as text, in the format of its operation.
    Time,
    Email,
    Url,
    /// One of a few texts.
    Choice(&'static [&'static str]),
    /// Exactly this.
    Is(&'static str),
    List(&'static Shape),
    Object(&'static [Field]),
    /// An object of any names.
    Map(&'static Shape),
    Nullable(&'static Shape),
    Either(&'static [Shape]),
    /// Bytes of any kind.
    Binary,
    Any,
}

/// A member of an object in an answer.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    pub name: &'static str,
    pub shape: Shape,
    pub meaning: &'static str,
    /// Whether it is there in every such object.
    pub always: bool,
}

impl Field {
    /// A member that some answers have.
    #[must_use]
    pub const fn new(name: &'static str, shape: Shape, meaning: &'static str) -> Self {
        Self { name, shape, meaning, always: false }
    }

    /// A member that every such object has.
    #[must_use]
    pub const fn always(name: &'static str, shape: Shape, meaning: &'static str) -> Self {
        Self { always: true, ..Self::new(name, shape, meaning) }
    }
}

/// Where a parameter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the query of a GET; in the body of a POST (a form, a multipart form or a JSON object).
    Usual,
    Path,
    Query,
    Header,
}

/// A parameter of an operation.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    pub name: &'static str,
    pub shape: Shape,
    pub meaning: &'static str,
    pub required: bool,
    pub place: Place,
}

impl Parameter {
    #[must_use]
    pub const fn required(name: &'static str, shape: Shape, meaning: &'static str) -> Self {
        Self { name, shape, meaning, required: true, place: Place::Usual }
    }

    #[must_use]
    pub const fn optional(name: &'static str, shape: Shape, meaning: &'static str) -> Self {
        Self { required: false, ..Self::required(name, shape, meaning) }
    }

    #[must_use]
    pub const fn at(self, place: Place) -> Self {
        Self { place, ..self }
    }
}

/// One answer of an operation that is not signed.
#[derive(Clone, Copy, Debug)]
pub struct Given {
    pub status: u16,
    pub meaning: &'static str,
    /// Empty where there is no body.
    pub content_type: &'static str,
    pub shape: Shape,
}

impl Given {
    #[must_use]
    pub const fn new(status: u16, meaning: &'static str, content_type: &'static str, shape: Shape) -> Self {
        Self { status, meaning, content_type, shape }
    }

    #[must_use]
    pub const fn json(status: u16, meaning: &'static str, shape: Shape) -> Self {
        Self::new(status, meaning, "application/json", shape)
    }
}

/// Who may call an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// An API key in the header or as a parameter.
    ApiKey,
    /// A license key in the header.
    LicenseKey,
    Nobody,
}

/// The description of one operation.
#[derive(Clone, Copy, Debug)]
pub struct Doc {
    /// One line.
    pub summary: &'static str,
    /// What else there is to say; may be empty.
    pub details: &'static str,
    pub parameters: &'static [Parameter],
    /// The codes that it answers in signed envelopes, apart from those that every operation has.
    pub codes: &'static [Code],
    /// The members of `response` beside `code`, `message` and `timestamp`.
    pub fields: &'static [Field],
    /// Its answers without an envelope.
    pub given: &'static [Given],
    /// Administration: the statuses with which it refuses, apart from those that every operation has.
    pub refusals: &'static [u16],
    pub guard: Guard,
    /// Whether its callers can have a receipt.
    pub gives_receipt: bool,
}

impl Doc {
    #[must_use]
    pub const fn new(summary: &'static str) -> Self {
        Self { summary, details: "", parameters: &[], codes: &[], fields: &[], given: &[], refusals: &[], guard: Guard::ApiKey, gives_receipt: false }
    }

    #[must_use]
    pub const fn details(self, details: &'static str) -> Self {
        Self { details, ..self }
    }

    #[must_use]
    pub const fn parameters(self, parameters: &'static [Parameter]) -> Self {
        Self { parameters, ..self }
    }

    #[must_use]
    pub const fn codes(self, codes: &'static [Code]) -> Self {
        Self { codes, ..self }
    }

    #[must_use]
    pub const fn fields(self, fields: &'static [Field]) -> Self {
        Self { fields, ..self }
    }

    #[must_use]
    pub const fn given(self, given: &'static [Given]) -> Self {
        Self { given, ..self }
    }

    #[must_use]
    pub const fn refusals(self, refusals: &'static [u16]) -> Self {
        Self { refusals, ..self }
    }

    #[must_use]
    pub const fn guard(self, guard: Guard) -> Self {
        Self { guard, ..self }
    }

    #[must_use]
    pub const fn receipt(self) -> Self {
        Self { gives_receipt: true, ..self }
    }

    /// Whether the operation says that it may answer this code.
    #[must_use]
    pub fn names(&self, code: Code) -> bool {
        code.is_common() || self.codes.contains(&code)
    }
}

/// Parameters that several operations share.
pub mod common {
    use super::{Field, Parameter, Shape};

    pub const LICENSE_KEY: Parameter = Parameter::required("license_key", Shape::Text, "The license key.");
    pub const IDENTIFIER: Parameter =
        Parameter::required("identifier", Shape::Text, "What the license is used for, such as a domain; compared exactly as it is sent.");
    pub const POST_URL: Parameter =
        Parameter::optional("post_url", Shape::Text, "Where the client wants to be told when an operator deactivates it.");
    pub const PRODUCT_ID: Parameter = Parameter::required("product_id", Shape::Integer, "The product's number.");
    pub const META_KEY: Parameter = Parameter::required("key", Shape::Text, "The entry's key.");
    pub const META_VALUE: Parameter = Parameter::required("value", Shape::Text, "The entry's value.");
    /// `errors` where each field has a list of texts.
    pub const ERRORS: Field = Field::new("errors", Shape::Map(&Shape::List(&Shape::Text)), "What is wrong with which parameter.");
    pub const META: Shape = Shape::List(&Shape::Object(&[
        Field::always("key", Shape::Text, ""),
        Field::always("value", Shape::Nullable(&Shape::Text), "`null` once it is forgotten."),
    ]));
}
