//! Personal data inside events. In memory it is open; in the log it is one sealed object per event, whose key belongs
//! to a data subject and can be destroyed. An open object refuses to be serialized, so it can't reach the log by accident.

use serde::{Deserialize, Deserializer, Serialize, Serializer, ser};
use uuid::Uuid;

/// Everything personal that one event can carry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PersonalData {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ip: Option<String>,
    /// What a shipped program reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identifier: Option<String>,
    /// A license key as a client gave it, which may be no license's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner_email: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post_url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_identifier: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

impl PersonalData {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether this says nothing but where the request came from: then it concerns whoever made the request.
    #[must_use]
    pub fn is_only_client_ip(&self) -> bool {
        *self == Self { client_ip: self.client_ip.clone(), ..Self::default() }
    }
}

/// Whom a sealed object is about, so which key opens it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubjectKind {
    /// A license's owner, found by e-mail address.
    Owner,
    /// The license itself, while it has no owner.
    License,
    /// The holder of the API key that asked.
    Actor,
    /// An entry of the block list.
    Block,
}

impl SubjectKind {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::License => "license",
            Self::Actor => "actor",
            Self::Block => "block",
        }
    }
}

/// The stored form: ciphertext and key commitment in standard Base64.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sealed {
    pub ciphertext: String,
    pub commitment: String,
    pub of: SubjectKind,
    pub subject: Uuid,
}

/// An event's personal part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Personal {
    #[default]
    None,
    Open(PersonalData),
    /// Stored, and not opened or no longer openable.
    Sealed(Sealed),
}

impl Personal {
    #[must_use]
    pub fn new(data: PersonalData) -> Self {
        if data.is_empty() { Self::None } else { Self::Open(data) }
    }

    #[must_use]
    pub fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// The open data; `None` where there is none or it can't be read.
    #[must_use]
    pub fn open(&self) -> Option<&PersonalData> {
        match self {
            Self::Open(data) => Some(data),
            Self::None | Self::Sealed(_) => None,
        }
    }

    #[must_use]
    pub fn identifier(&self) -> Option<String> {
        self.open().and_then(|data| data.identifier.clone())
    }

    #[must_use]
    pub fn owner_name(&self) -> Option<String> {
        self.open().and_then(|data| data.owner_name.clone())
    }

    #[must_use]
    pub fn owner_email(&self) -> Option<String> {
        self.open().and_then(|data| data.owner_email.clone())
    }

    #[must_use]
    pub fn post_url(&self) -> Option<String> {
        self.open().and_then(|data| data.post_url.clone())
    }

    #[must_use]
    pub fn value(&self) -> Option<String> {
        self.open().and_then(|data| data.value.clone())
    }
}

impl Serialize for Personal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => serializer.serialize_none(),
            Self::Open(_) => Err(ser::Error::custom("personal data must be sealed before it is stored")),
            Self::Sealed(sealed) => sealed.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Personal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::<Sealed>::deserialize(deserializer)?.map_or(Self::None, Self::Sealed))
    }
}

#[cfg(test)]
mod tests {
    use super::{Personal, PersonalData};

    #[test]
    fn open_personal_data_cannot_be_serialized() {
        let open = Personal::new(PersonalData { owner_email: Some("a@b.example".into()), ..PersonalData::default() });
        assert!(serde_json::to_string(&open).is_err());
    }

    #[test]
    fn an_empty_object_is_none() {
        assert!(Personal::new(PersonalData::default()).is_none());
    }
}
