//! An operation: what the router and the access checks need to know of it.

use axum::http::Method;

use super::body::BODY_MAX;

/// Where interface A lives.
const BASE: &str = "/api/v1/";
/// Where the administration lives.
const ADMIN_BASE: &str = "/admin/v1/";
/// Where the log itself is read.
const LEDGER_BASE: &str = "/ledger/v1/";
/// Where it is followed.
const FEED_BASE: &str = "/feed/v1/";

/// Where interface B lives.
const LICENSE_SERVICE_BASE: &str = "/api/license/";

/// The methods that operations are called with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

impl Verb {
    /// Whether a request of that method is for it. HEAD is a GET whose body is left out.
    #[must_use]
    pub fn takes(self, method: &Method) -> bool {
        match self {
            Self::Get => method == Method::GET || method == Method::HEAD,
            Self::Post => method == Method::POST,
            Self::Put => method == Method::PUT,
            Self::Patch => method == Method::PATCH,
            Self::Delete => method == Method::DELETE,
        }
    }

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    /// What `Allow` says of it.
    #[must_use]
    pub fn allow(self) -> &'static str {
        if self == Self::Get { "GET, HEAD" } else { self.as_str() }
    }
}

/// How an operation's neighbours speak: what answers where no handler does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Interface A: signed envelopes; whatever is nobody else's too.
    Signed,
    /// The administration and the reading of the log: problem details.
    Admin,
    /// Interface B: JSON of its own form.
    LicenseService,
}

impl Family {
    #[must_use]
    pub fn of(path: &str) -> Self {
        match path {
            "/admin" | "/ledger" | "/feed" => Self::Admin,
            path if ["/admin/", "/ledger/", "/feed/"].iter().any(|base| path.starts_with(base)) => Self::Admin,
            path if path.starts_with(LICENSE_SERVICE_BASE) => Self::LicenseService,
            _ => Self::Signed,
        }
    }
}

/// One operation.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    pub verb: Verb,
    /// With `{name}` where a parameter stands.
    pub path: &'static str,
    pub body_max: usize,
    /// Whether a contract's key is as good as an API key.
    pub is_for_contracts: bool,
    capability: Option<&'static str>,
    /// What lets a key see more in the same answer.
    shows_more: &'static [&'static str],
    /// Whether the configuration can open it to everybody.
    may_be_public: bool,
    /// Whether it folds streams from their beginning.
    folds: bool,
}

impl Operation {
    const fn new(verb: Verb, path: &'static str, body_max: usize) -> Self {
        Self { verb, path, body_max, is_for_contracts: false, capability: None, shows_more: &[], may_be_public: false, folds: false }
    }

    #[must_use]
    pub const fn get(path: &'static str) -> Self {
        Self::new(Verb::Get, path, 0)
    }

    #[must_use]
    pub const fn post(path: &'static str) -> Self {
        Self::new(Verb::Post, path, BODY_MAX)
    }

    #[must_use]
    pub const fn put(path: &'static str) -> Self {
        Self::new(Verb::Put, path, BODY_MAX)
    }

    #[must_use]
    pub const fn patch(path: &'static str) -> Self {
        Self::new(Verb::Patch, path, BODY_MAX)
    }

    #[must_use]
    pub const fn delete(path: &'static str) -> Self {
        Self::new(Verb::Delete, path, BODY_MAX)
    }

    /// With another limit to the body.
    #[must_use]
    pub const fn body_max(self, body_max: usize) -> Self {
        Self { body_max, ..self }
    }

    /// Open to whoever shows the key of a contract, too.
    #[must_use]
    pub const fn for_contracts(self) -> Self {
        Self { is_for_contracts: true, ..self }
    }

    /// With a capability that its path doesn't name.
    #[must_use]
    pub const fn needs(self, capability: &'static str) -> Self {
        Self { capability: Some(capability), ..self }
    }

    /// With capabilities that it doesn't need, and that show more.
    #[must_use]
    pub const fn shows_more_with(self, shows_more: &'static [&'static str]) -> Self {
        Self { shows_more, ..self }
    }

    /// Open to everybody, where the configuration says so.
    #[must_use]
    pub const fn public_by_configuration(self) -> Self {
        Self { may_be_public: true, ..self }
    }

    /// Folding streams from their beginning, however long they are: few of these run at once.
    #[must_use]
    pub const fn folds_streams(self) -> Self {
        Self { folds: true, ..self }
    }

    #[must_use]
    pub const fn folds(&self) -> bool {
        self.folds
    }

    #[must_use]
    pub const fn may_be_public(&self) -> bool {
        self.may_be_public
    }

    /// Capabilities that show more in the same answer.
    #[must_use]
    pub const fn shows_more(&self) -> &'static [&'static str] {
        self.shows_more
    }

    /// Whether its capability with `:read` behind it is enough. What reads the log changes nothing: there it would say the same twice.
    #[must_use]
    pub fn has_reading_capability(&self) -> bool {
        self.is_get() && self.path.starts_with(ADMIN_BASE)
    }

    /// Whether its capability is said rather than that of its path.
    #[must_use]
    pub const fn says_capability(&self) -> bool {
        self.capability.is_some()
    }

    #[must_use]
    pub const fn is_get(&self) -> bool {
        matches!(self.verb, Verb::Get)
    }

    /// What an API key must be allowed to call this: the end of the path, unless it is said.
    #[must_use]
    pub fn capability(&self) -> &'static str {
        self.capability.unwrap_or_else(|| self.path.strip_prefix(BASE).or_else(|| self.path.strip_prefix(ADMIN_BASE)).unwrap_or(self.path))
    }

    /// Whether the configured rate limits hold for it.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        [BASE, ADMIN_BASE, LEDGER_BASE, FEED_BASE].iter().any(|base| self.path.starts_with(base))
    }

    #[must_use]
    pub fn family(&self) -> Family {
        Family::of(self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_capability_is_the_paths_end() {
        assert_eq!(Operation::post("/api/v1/verify").capability(), "verify");
        assert_eq!(Operation::get("/api/v1/contracts/get-info").capability(), "contracts/get-info");
        assert_eq!(Operation::get("/admin/v1/products").needs("admin:products").capability(), "admin:products");
    }

    #[test]
    fn head_is_a_get() {
        assert!(Verb::Get.takes(&Method::HEAD) && Verb::Get.takes(&Method::GET));
        assert!(!Verb::Post.takes(&Method::HEAD) && !Verb::Get.takes(&Method::POST));
    }
}
