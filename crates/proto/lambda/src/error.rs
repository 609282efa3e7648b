//! Errors of the API: status, `x-amzn-ErrorType`, and a body whose message member is spelt right.

use serde_json::{Map, Value};

/// How the message member of an error body is spelt; it differs per error shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageMember {
    /// `"Message"`
    Upper,
    /// `"message"`
    Lower,
}

/// One error shape of the service model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorCode {
    /// Value of `x-amzn-ErrorType`, from which clients choose their exception class.
    pub name: &'static str,
    /// HTTP status.
    pub status: u16,
    /// Spelling of the message member.
    pub member: MessageMember,
    /// Value of the `Type` member; none where the front end of AWS answers before the service.
    pub fault: Option<&'static str>,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $constant:ident = $name:literal $status:literal $member:ident $fault:expr;)*) => {
        impl ErrorCode {
            $($(#[$doc])* pub const $constant: Self = Self {
                name: $name,
                status: $status,
                member: MessageMember::$member,
                fault: $fault,
            };)*
        }
    };
}

codes! {
    /// A member breaks a constraint of its shape.
    VALIDATION = "ValidationException" 400 Lower None;
    /// The body is no JSON of the right shape.
    SERIALIZATION = "SerializationException" 400 Lower None;
    /// No operation has this method and path.
    UNKNOWN_OPERATION = "UnknownOperationException" 404 Lower None;
    /// The operation or option exists at AWS, not here.
    NOT_IMPLEMENTED = "NotImplementedException" 501 Lower Some("User");
    /// A value is well-formed and not acceptable.
    INVALID_PARAMETER_VALUE = "InvalidParameterValueException" 400 Lower Some("User");
    /// An event that is no JSON.
    INVALID_REQUEST_CONTENT = "InvalidRequestContentException" 400 Lower Some("User");
    /// No such function, version or configuration.
    RESOURCE_NOT_FOUND = "ResourceNotFoundException" 404 Upper Some("User");
    /// The function exists already, or is being changed.
    RESOURCE_CONFLICT = "ResourceConflictException" 409 Lower Some("User");
    /// No provisioned concurrency.
    PROVISIONED_CONCURRENCY_NOT_FOUND = "ProvisionedConcurrencyConfigNotFoundException" 404 Lower Some("User");
    /// The given RevisionId is not the latest.
    PRECONDITION_FAILED = "PreconditionFailedException" 412 Lower Some("User");
    /// An event that is too long.
    REQUEST_TOO_LARGE = "RequestTooLargeException" 413 Lower Some("User");
    /// A request body that is too long.
    REQUEST_ENTITY_TOO_LARGE = "RequestEntityTooLargeException" 413 Lower None;
    /// The account's code storage is full.
    CODE_STORAGE_EXCEEDED = "CodeStorageExceededException" 400 Lower Some("User");
    /// The function has as many aliases as it may.
    ALIAS_LIMIT_EXCEEDED = "AliasLimitExceededException" 400 Lower Some("User");
    /// The version's snapshot is being made.
    SNAP_START_NOT_READY = "SnapStartNotReadyException" 409 Upper Some("User");
    /// No room to run the function now.
    TOO_MANY_REQUESTS = "TooManyRequestsException" 429 Lower Some("User");
    /// The runtime is not available on this machine.
    INVALID_RUNTIME = "InvalidRuntimeException" 502 Upper Some("User");
    /// Something failed on our side.
    SERVICE = "ServiceException" 500 Upper Some("Service");
    /// Too busy to read the request at all.
    SERVICE_UNAVAILABLE = "ServiceUnavailableException" 503 Upper Some("Service");
    /// The client took too long to send its request.
    REQUEST_TIMEOUT = "RequestTimeoutException" 408 Lower None;
    /// Not allowed, whoever asks.
    ACCESS_DENIED = "AccessDeniedException" 403 Upper None;
    /// No signature where one is required.
    MISSING_AUTHENTICATION_TOKEN = "MissingAuthenticationTokenException" 403 Lower None;
    /// A signature that cannot be read.
    INCOMPLETE_SIGNATURE = "IncompleteSignatureException" 403 Lower None;
    /// An access key nobody knows.
    UNRECOGNIZED_CLIENT = "UnrecognizedClientException" 403 Lower None;
    /// A signature that does not match the request.
    INVALID_SIGNATURE = "InvalidSignatureException" 403 Lower None;
}

/// An error as the client gets it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", code.name)]
pub struct ApiError {
    /// Which shape.
    pub code: ErrorCode,
    /// Text for a person; clients and Terraform match on parts of some texts.
    pub message: String,
    /// `Reason` member, only for throttling.
    pub reason: Option<&'static str>,
}

impl ApiError {
    /// An error with a text.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            reason: None,
        }
    }

    /// A well-formed value that is not acceptable.
    pub fn invalid_parameter(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::INVALID_PARAMETER_VALUE, message)
    }

    /// Something failed on our side; `message` must hold nothing that the caller may not know.
    pub fn service(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::SERVICE, message)
    }

    /// What exists at AWS and not here: `what` reads for example "Layers".
    pub fn not_implemented(what: &str) -> Self {
        Self::new(
            ErrorCode::NOT_IMPLEMENTED,
            format!("Rekindle does not implement {what} yet."),
        )
    }

    /// The function (or its version) does not exist.
    pub fn function_not_found(arn: &str) -> Self {
        Self::new(
            ErrorCode::RESOURCE_NOT_FOUND,
            format!("Function not found: {arn}"),
        )
    }

    /// No room to run the function now.
    pub fn throttled(reason: &'static str) -> Self {
        Self {
            reason: Some(reason),
            ..Self::new(ErrorCode::TOO_MANY_REQUESTS, "Rate Exceeded.")
        }
    }

    /// The JSON body.
    pub fn body(&self) -> String {
        let mut members = Map::new();
        if let Some(fault) = self.code.fault {
            members.insert("Type".into(), Value::from(fault));
        }
        let member = match self.code.member {
            MessageMember::Upper => "Message",
            MessageMember::Lower => "message",
        };
        members.insert(member.into(), Value::from(self.message.as_str()));
        if let Some(reason) = self.reason {
            members.insert("Reason".into(), Value::from(reason));
        }
        Value::Object(members).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_spell_their_message_member_as_the_shape_does() {
        let missing = ApiError::function_not_found("arn:x");
        assert_eq!(
            missing.body(),
            r#"{"Message":"Function not found: arn:x","Type":"User"}"#
        );
        let throttled = ApiError::throttled("ConcurrentInvocationLimitExceeded");
        assert_eq!(
            throttled.body(),
            r#"{"Reason":"ConcurrentInvocationLimitExceeded","Type":"User","message":"Rate Exceeded."}"#
        );
        assert_eq!(
            ApiError::new(ErrorCode::VALIDATION, "m").body(),
            r#"{"message":"m"}"#
        );
    }
}
