//! Response codes: the one table of them, mirroring the contract's `response-codes.json`, and the one mapping of the
//! domain's refusals to codes.

use axum::http::StatusCode;
use keyledger_events::{license::LicenseError, product::ProductError};
use serde::{Serialize, Serializer};

macro_rules! codes {
    ($($name:ident = $number:literal $message:literal),+ $(,)?) => {
        /// What an answer's `code` and `message` say. Codes from 9000 on are 9000 + HTTP status: no business outcomes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $($name = $number),+ }

        impl Code {
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            #[must_use]
            pub fn number(self) -> u16 {
                self as u16
            }

            /// The number as text.
            #[must_use]
            pub const fn digits(self) -> &'static str {
                match self { $(Self::$name => stringify!($number)),+ }
            }

            #[must_use]
            pub fn message(self) -> &'static str {
                match self { $(Self::$name => $message),+ }
            }
        }
    };
}

codes! {
    InvalidApiKey = 100 "Invalid API Key",
    InactiveApiKey = 101 "Inactive API Key",
    InsufficientPermissions = 102 "The used API key doesn't have the required capability to access this endpoint",
    IpNotAllowed = 103 "API key can't be used from this IP address",
    AccessDenied = 150 "Access denied",
    ValidLicenseKey = 200 "Valid license key",
    LicenseNotAssigned = 201 "This license key is not assigned",
    NoActivationFound = 202 "No activation found for this license key/identifier combination",
    ProductInactive = 203 "The product associated with this license key is not active or doesn't exist",
    LicenseBlocked = 204 "License key blocked",
    LicenseExpired = 205 "License key expired",
    EnvatoPurchaseCodeAdded = 206 "Envato purchase code added",
    InvalidLicenseKey = 210 "Invalid license key",
    IdentifierRequired = 215 "Identifier is required",
    MetaKeyRequiredDelete = 250 "Meta key is required",
    MetaKeyNotExistsDelete = 251 "Meta key doesn't exist",
    MetadataDeleted = 252 "Metadata deleted",
    ProductMetaKeyRequiredCreate = 270 "Meta key is required",
    ProductMetaValueRequiredCreate = 271 "Meta value is required",
    ProductMetaKeyAlreadyExists = 272 "Meta key already exists",
    ProductMetaCreated = 273 "Product meta created",
    ProductNotFoundMetaCreate = 274 "Product not found",
    LicenseActivated = 300 "License key activated",
    LicenseAlreadyActive = 301 "License key already active",
    ActivationLimitReached = 302 "License key reached activation limit",
    MetaKeyRequiredUpdate = 350 "Meta key is required",
    MetaValueRequiredUpdate = 351 "Meta value is required",
    MetaKeyNotExistsUpdate = 352 "Meta key doesn't exist",
    MetadataUpdated = 353 "Metadata updated",
    ProductMetaKeyRequiredUpdate = 370 "Meta key is required",
    ProductMetaValueRequiredUpdate = 371 "Meta value is required",
    ProductMetaKeyNotExistsUpdate = 372 "Meta key doesn't exists",
    ProductMetaUpdated = 373 "Product meta updated",
    ProductNotFoundMetaUpdate = 374 "Product not found",
    LicenseDeactivated = 400 "License key deactivated",
    LicenseAlreadyInactive = 401 "License key already inactive",
    MetaKeyRequiredCreate = 450 "Meta key is required",
    MetaValueRequiredCreate = 451 "Meta value is required",
    MetaKeyAlreadyExistsCreate = 452 "Meta key already exists",
    MetadataCreated = 453 "Metadata created",
    ProductMetaKeyRequiredDelete = 480 "Meta key is required",
    ProductMetaKeyNotExistsDelete = 481 "Meta key doesn't exist",
    ProductMetaDeleted = 482 "Product meta deleted",
    ProductNotFoundMetaDelete = 483 "Product not found",
    ActiveLicenseFound = 500 "Active license key found",
    LicenseKeyNotFoundDetails = 501 "License key not found",
    LicenseFileRetrieved = 502 "License file retrieved successfully",
    LicenseFileGenerationFailed = 503 "Failed to generate license file",
    ProductDeleted = 550 "Product deleted",
    ProductNotFound = 551 "Product not found",
    Downloads = 600 "Downloads",
    ProductFound = 631 "Product information retrieved successfully",
    ProductPublicKeyFound = 632 "Public key retrieved successfully",
    ProductPublicKeyNotFound = 633 "Public key not available for product",
    ProductUpdated = 650 "Product updated",
    IncorrectDataProductUpdate = 651 "Incorrect data found",
    FileNotExists = 700 "The request file doesn't exist",
    NoPermissionFile = 701 "You don't have permission to access it",
    LicenseKeysList = 730 "License keys",
    ProductNotExistsCount = 740 "Product doesn't exist",
    AvailableLicenseKeysCount = 741 "Available license keys count",
    ProductCreated = 750 "Product created",
    IncorrectDataProductCreate = 751 "Incorrect data found",
    LicenseKeyAssigned = 800 "License key assigned",
    InvalidOrAlreadyAssigned = 801 "Invalid or already assigned license key",
    InsufficientLicenseKeys = 802 "Insufficient license keys",
    LicenseKeysAssigned = 803 "License keys assigned",
    ProductNotFoundAssign = 805 "Product not found",
    GeneratorNotFoundAssign = 806 "Generator not found",
    RequestQueued = 807 "Request Queued",
    AllProducts = 810 "All products",
    GeneratedLicenseKeys = 815 "Generated license keys",
    AllGenerators = 820 "All generators",
    IncorrectDataContract = 825 "Incorrect data found",
    CorrectFormatTelemetrySaved = 830 "Correct format data saved",
    IncorrectFormatTelemetrySaved = 831 "Incorrect format data saved",
    ContractCreated = 841 "contract created",
    ContractUpdated = 842 "contract updated",
    ContractDeleted = 843 "contract deleted",
    ContractNotFound = 844 "Contract not found",
    AllContracts = 846 "All contracts",
    LicenseKeyDeleted = 850 "License key deleted",
    LicenseKeyNotFound = 851 "License key not found",
    LicenseKeysCreationResult = 900 "License keys creation result",
    IncorrectDataLicenseCreate = 901 "Incorrect data found",
    NoLicenseKeysCreated = 902 "No license keys created",
    LicenseKeyUpdated = 950 "License keys updated",
    IncorrectDataLicenseUpdate = 951 "Incorrect data found",
    LicenseKeyNotFoundUpdate = 952 "License key not found",
    TelemetryDataFound = 970 "Telemetry data found",
    ContractNotFoundInfo = 1200 "Contract not found",
    ContractProductNotFound = 1202 "Product not found",
    ContractGeneratorNotFound = 1203 "Generator not found",
    ContractFound = 1204 "Contract found",
    LicenseKeysLimitReached = 1205 "License keys limit reached",
    CannotGenerateQuantity = 1206 "Cannot generate this quantity",
    ContractLicenseKeysGenerated = 1300 "Contract license keys generated",
    ContractLicenseKeyDeleted = 1400 "License key deleted",
    ContractLicenseKeyNotFound = 1401 "License key not found",
    ContractLicenseKeysDeleted = 1500 "License keys deleted",
    ContractNoLicenseKeysFound = 1501 "No license keys found",
    ChangelogRetrieved = 1600 "Changelog retrieved successfully",
    ChangelogDisabledGlobally = 1601 "Changelog feature is disabled globally",
    ChangelogDisabledForProduct = 1602 "Changelog not enabled for this product",
    BadRequest = 9400 "Bad request",
    NotFound = 9404 "Not found",
    MethodNotAllowed = 9405 "Method not allowed",
    IdempotencyConflict = 9409 "Idempotency key conflict",
    PayloadTooLarge = 9413 "Payload too large",
    UnsupportedMediaType = 9415 "Unsupported media type",
    TooManyRequests = 9429 "Too many requests",
    InternalError = 9500 "Internal error",
    ServiceUnavailable = 9503 "Service unavailable",
}

impl Code {
    /// The HTTP status that belongs to the code: 200 for every business outcome, success or not.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self.number() {
            100..=103 => StatusCode::UNAUTHORIZED,
            150 => StatusCode::FORBIDDEN,
            number @ 9400..=9599 => StatusCode::from_u16(number - 9000).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            _ => StatusCode::OK,
        }
    }
}

impl Code {
    /// Whether every signed operation may answer it: what is wrong with the key, the caller or the request itself.
    #[must_use]
    pub fn is_common(self) -> bool {
        matches!(self.number(), 100..=103 | 150 | 9000..)
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            // Observed: the one code that is a JSON string.
            Self::LicenseDeactivated => serializer.serialize_str(self.digits()),
            _ => serializer.serialize_u16(self.number()),
        }
    }
}

/// The operations on a license; where their codes for one refusal differ, it is by these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LicenseOperation {
    Verify,
    Activate,
    Assign,
    AssignAndActivate,
    Deactivate,
    Details,
    Update,
    Delete,
    CreateMeta,
    UpdateMeta,
    DeleteMeta,
    Download,
}

/// The code of a refusal. `None` for a refusal that the operation can't meet.
#[must_use]
pub fn license_refusal(operation: LicenseOperation, error: LicenseError) -> Option<Code> {
    use LicenseOperation as Op;
    let code = match error {
        LicenseError::Unknown => match operation {
            Op::Details => Code::LicenseKeyNotFoundDetails,
            Op::Assign | Op::AssignAndActivate => Code::InvalidOrAlreadyAssigned,
            Op::Update => Code::LicenseKeyNotFoundUpdate,
            Op::Delete => Code::LicenseKeyNotFound,
            Op::Verify | Op::Activate | Op::Deactivate | Op::CreateMeta | Op::UpdateMeta | Op::DeleteMeta | Op::Download => Code::InvalidLicenseKey,
        },
        LicenseError::ProductInactive => Code::ProductInactive,
        LicenseError::Blocked => Code::LicenseBlocked,
        LicenseError::NotAssigned => Code::LicenseNotAssigned,
        LicenseError::Expired => Code::LicenseExpired,
        LicenseError::IdentifierRequired => Code::IdentifierRequired,
        LicenseError::NoActivation => Code::NoActivationFound,
        LicenseError::LimitReached => Code::ActivationLimitReached,
        LicenseError::NotAvailable => Code::InvalidOrAlreadyAssigned,
        LicenseError::MetaKeyRequired => match operation {
            Op::CreateMeta => Code::MetaKeyRequiredCreate,
            Op::UpdateMeta => Code::MetaKeyRequiredUpdate,
            Op::DeleteMeta => Code::MetaKeyRequiredDelete,
            _ => return None,
        },
        LicenseError::MetaValueRequired => match operation {
            Op::CreateMeta => Code::MetaValueRequiredCreate,
            Op::UpdateMeta => Code::MetaValueRequiredUpdate,
            _ => return None,
        },
        LicenseError::MetaExists => Code::MetaKeyAlreadyExistsCreate,
        LicenseError::MetaUnknown => match operation {
            Op::UpdateMeta => Code::MetaKeyNotExistsUpdate,
            Op::DeleteMeta => Code::MetaKeyNotExistsDelete,
            _ => return None,
        },
        LicenseError::Exists | LicenseError::KeyTaken | LicenseError::NotBlocked => return None,
    };
    Some(code)
}

/// The operations on a product that can be refused by what the ledger holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProductOperation {
    Update,
    Delete,
    CreateMeta,
    UpdateMeta,
    DeleteMeta,
}

/// The code of a refusal. `None` for a refusal that the operation can't meet.
#[must_use]
pub fn product_refusal(operation: ProductOperation, error: ProductError) -> Option<Code> {
    use ProductOperation as Op;
    let code = match (error, operation) {
        (ProductError::Unknown, Op::Update) => Code::IncorrectDataProductUpdate,
        (ProductError::Unknown | ProductError::HasLicenses, Op::Delete) => Code::ProductNotFound,
        (ProductError::Unknown, Op::CreateMeta) => Code::ProductNotFoundMetaCreate,
        (ProductError::Unknown, Op::UpdateMeta) => Code::ProductNotFoundMetaUpdate,
        (ProductError::Unknown, Op::DeleteMeta) => Code::ProductNotFoundMetaDelete,
        (ProductError::MetaKeyRequired, Op::CreateMeta) => Code::ProductMetaKeyRequiredCreate,
        (ProductError::MetaKeyRequired, Op::UpdateMeta) => Code::ProductMetaKeyRequiredUpdate,
        (ProductError::MetaKeyRequired, Op::DeleteMeta) => Code::ProductMetaKeyRequiredDelete,
        (ProductError::MetaValueRequired, Op::CreateMeta) => Code::ProductMetaValueRequiredCreate,
        (ProductError::MetaValueRequired, Op::UpdateMeta) => Code::ProductMetaValueRequiredUpdate,
        (ProductError::MetaExists, Op::CreateMeta) => Code::ProductMetaKeyAlreadyExists,
        (ProductError::MetaUnknown, Op::UpdateMeta) => Code::ProductMetaKeyNotExistsUpdate,
        (ProductError::MetaUnknown, Op::DeleteMeta) => Code::ProductMetaKeyNotExistsDelete,
        (
            ProductError::Exists
            | ProductError::HasLicenses
            | ProductError::MetaKeyRequired
            | ProductError::MetaValueRequired
            | ProductError::MetaExists
            | ProductError::MetaUnknown
            | ProductError::SlugTaken
            | ProductError::KeyPairUnknown
            | ProductError::KeyPairRetired,
            _,
        ) => return None,
    };
    Some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_the_contracts() {
        let file: serde_json::Value = serde_json::from_str(include_str!("../../tests/fixtures/response-codes.json")).unwrap();
        let rows = file.as_array().unwrap();
        let ours: Vec<&Code> = Code::ALL.iter().filter(|code| code.number() < 9000).collect();
        assert_eq!(rows.len(), ours.len());
        for (row, code) in rows.iter().zip(ours) {
            assert_eq!(row["code"], code.number());
            assert_eq!(row["message"], code.message());
            assert_eq!(format!("{code:?}").to_lowercase(), row["name"].as_str().unwrap().replace('_', ""));
            let written = serde_json::to_value(code).unwrap();
            assert_eq!(written.is_string(), row["code_is_json_string"] == true, "{code:?}");
        }
    }

    #[test]
    fn the_status_follows_from_the_code() {
        assert_eq!(Code::InsufficientPermissions.status(), 401);
        assert_eq!(Code::AccessDenied.status(), 403);
        assert_eq!(Code::LicenseKeyNotFound.status(), 200);
        for code in Code::ALL.iter().filter(|code| code.number() >= 9000) {
            assert_eq!(code.status().as_u16(), code.number() - 9000);
        }
    }

    #[test]
    fn a_refusal_has_the_code_of_its_operation() {
        let meta_missing = [
            (LicenseOperation::CreateMeta, Code::MetaKeyRequiredCreate),
            (LicenseOperation::UpdateMeta, Code::MetaKeyRequiredUpdate),
            (LicenseOperation::DeleteMeta, Code::MetaKeyRequiredDelete),
        ];
        for (operation, code) in meta_missing {
            assert_eq!(license_refusal(operation, LicenseError::MetaKeyRequired), Some(code));
        }
        assert_eq!(license_refusal(LicenseOperation::Details, LicenseError::Unknown), Some(Code::LicenseKeyNotFoundDetails));
        assert_eq!(license_refusal(LicenseOperation::Verify, LicenseError::MetaUnknown), None);
        assert_eq!(product_refusal(ProductOperation::Delete, ProductError::HasLicenses), Some(Code::ProductNotFound));
    }
}
