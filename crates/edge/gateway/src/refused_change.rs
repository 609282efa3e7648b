//! Errors of the registry in the words of the Lambda API.

use control_registry::{
    AliasError, ChangeError, CodeError, DeleteError, FindError, ListError, OtherRevision,
    StoreError, UnpackError,
};
use proto_lambda::{ApiError, ErrorCode, limits};

use crate::refusal::Refusal;

fn conflict(message: impl Into<String>) -> Refusal {
    Refusal(ApiError::new(ErrorCode::RESOURCE_CONFLICT, message))
}

fn not_found(message: String) -> Refusal {
    Refusal(ApiError::new(ErrorCode::RESOURCE_NOT_FOUND, message))
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal(ApiError::invalid_parameter(message))
}

impl From<FindError> for Refusal {
    fn from(error: FindError) -> Self {
        match error {
            FindError::OtherRegion { wanted, ours } => not_found(format!(
                "Functions from '{wanted}' are not reachable in this region ('{ours}')"
            )),
            FindError::NotFound { arn } => Self(ApiError::function_not_found(&arn)),
        }
    }
}

impl From<OtherRevision> for Refusal {
    fn from(_: OtherRevision) -> Self {
        Self(ApiError::new(
            ErrorCode::PRECONDITION_FAILED,
            "The Revision Id provided does not match the latest Revision Id. \
             Call the GetFunction/GetAlias API to retrieve the latest Revision Id",
        ))
    }
}

impl From<ListError> for Refusal {
    fn from(error: ListError) -> Self {
        match error {
            ListError::Shape(error) => Self(error),
            ListError::Find(error) => error.into(),
        }
    }
}

impl From<ChangeError> for Refusal {
    fn from(error: ChangeError) -> Self {
        let unsettled = |what: &str| {
            conflict(format!(
                "The operation cannot be performed at this time. {what}"
            ))
        };
        match error {
            ChangeError::Shape(error) => Self(error),
            ChangeError::Find(error) => error.into(),
            ChangeError::Exists(name) => conflict(format!("Function already exist: {name}")),
            ChangeError::Revision(error) => error.into(),
            ChangeError::OtherCode { wanted, current } => invalid(format!(
                "CodeSHA256 ({wanted}) is different from current CodeSHA256 in $LATEST ({current}). \
                 Please try again with the CodeSHA256 in $LATEST."
            )),
            ChangeError::Pending => {
                unsettled("The function is currently in the following state: Pending")
            }
            ChangeError::Updating { arn } => {
                unsettled(&format!("An update is in progress for resource: {arn}"))
            }
            ChangeError::Versions => Self(ApiError::new(
                ErrorCode::CODE_STORAGE_EXCEEDED,
                format!(
                    "A function can have at most {} versions; delete some.",
                    limits::VERSIONS
                ),
            )),
            ChangeError::Code(error) => error.into(),
            ChangeError::Store(error) => error.into(),
        }
    }
}

impl From<DeleteError> for Refusal {
    fn from(error: DeleteError) -> Self {
        match error {
            DeleteError::Find(error) => error.into(),
            DeleteError::Latest => {
                invalid("$LATEST version cannot be deleted without deleting the function.")
            }
            DeleteError::Alias => invalid("Deletion of aliases is not currently supported."),
            DeleteError::Referenced(aliases) => conflict(format!(
                "Unable to delete version because the following aliases reference it: [{aliases}]"
            )),
            DeleteError::Store(error) => error.into(),
        }
    }
}

impl From<AliasError> for Refusal {
    fn from(error: AliasError) -> Self {
        match error {
            AliasError::Shape(error) => Self(error),
            AliasError::Find(error) => error.into(),
            AliasError::Unknown { arn } => not_found(format!("Cannot find alias arn: {arn}")),
            AliasError::Missing { arn } => not_found(format!("Alias not found: {arn}")),
            AliasError::Exists { arn } => conflict(format!("Alias already exists: {arn}")),
            AliasError::Revision(error) => error.into(),
            AliasError::TooMany => Self(ApiError::new(
                ErrorCode::ALIAS_LIMIT_EXCEEDED,
                format!("A function can have at most {} aliases.", limits::ALIASES),
            )),
            AliasError::LatestWithOther => {
                invalid("$LATEST is not supported for an alias pointing to more than 1 version")
            }
            AliasError::Twice(own) => invalid(format!(
                "Invalid function version {own}. Function version {own} is already included in routing configuration."
            )),
            AliasError::Store(error) => error.into(),
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            // The registry serialises changes, so these mean that somebody else wrote the database.
            StoreError::Exists | StoreError::Changed => {
                conflict("The function was changed at the same time; try again.")
            }
            StoreError::Locked
            | StoreError::Backend(_)
            | StoreError::Record(_)
            | StoreError::Newer { .. }
            | StoreError::Interrupted(_) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "function database failed");
                Self(ApiError::service(
                    "The function database failed; the server's log has the reason.",
                ))
            }
        }
    }
}

impl From<CodeError> for Refusal {
    fn from(error: CodeError) -> Self {
        match error {
            CodeError::Unpack(UnpackError::Io(_))
            | CodeError::Io { .. }
            | CodeError::Interrupted(_) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "code store failed");
                Self(ApiError::service(
                    "The code could not be stored; the server's log has the reason.",
                ))
            }
            CodeError::Unpack(full @ UnpackError::NoRoom { .. }) => {
                tracing::error!(error = %full, "code was refused");
                Self(ApiError::new(
                    ErrorCode::CODE_STORAGE_EXCEEDED,
                    full.to_string(),
                ))
            }
            CodeError::Unpack(refused) => invalid(refused.to_string()),
            CodeError::Full => Self(ApiError::new(
                ErrorCode::CODE_STORAGE_EXCEEDED,
                "Code storage limit exceeded.",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(error: impl Into<Refusal>) -> (u16, &'static str, String) {
        let Refusal(error) = error.into();
        (error.code.status, error.code.name, error.message)
    }

    #[test]
    fn clients_read_what_they_read_at_aws() {
        let arn = || "arn:x".to_owned();
        let (wanted, ours) = ("eu-west-1".to_owned(), "us-east-1".to_owned());
        let elsewhere = FindError::OtherRegion { wanted, ours };
        let (wanted, current) = ("a".to_owned(), "b".to_owned());
        let conflict = "ResourceConflictException";
        for (told, status, name, message) in [
            (
                told(elsewhere),
                404,
                "ResourceNotFoundException",
                "Functions from 'eu-west-1' are not reachable in this region ('us-east-1')",
            ),
            (
                told(FindError::NotFound { arn: arn() }),
                404,
                "ResourceNotFoundException",
                "Function not found: arn:x",
            ),
            (
                told(ChangeError::Exists("f".to_owned())),
                409,
                conflict,
                "Function already exist: f",
            ),
            (
                told(ChangeError::Pending),
                409,
                conflict,
                "The operation cannot be performed at this time. \
                 The function is currently in the following state: Pending",
            ),
            (
                told(ChangeError::Updating { arn: arn() }),
                409,
                conflict,
                "The operation cannot be performed at this time. An update is in progress for resource: arn:x",
            ),
            (
                told(ChangeError::OtherCode { wanted, current }),
                400,
                "InvalidParameterValueException",
                "CodeSHA256 (a) is different from current CodeSHA256 in $LATEST (b). \
                 Please try again with the CodeSHA256 in $LATEST.",
            ),
            (
                told(AliasError::Exists { arn: arn() }),
                409,
                conflict,
                "Alias already exists: arn:x",
            ),
            (
                told(AliasError::Unknown { arn: arn() }),
                404,
                "ResourceNotFoundException",
                "Cannot find alias arn: arn:x",
            ),
            (
                told(AliasError::Twice(3)),
                400,
                "InvalidParameterValueException",
                "Invalid function version 3. Function version 3 is already included in routing configuration.",
            ),
            (
                told(DeleteError::Latest),
                400,
                "InvalidParameterValueException",
                "$LATEST version cannot be deleted without deleting the function.",
            ),
            (
                told(DeleteError::Referenced("a, b".to_owned())),
                409,
                conflict,
                "Unable to delete version because the following aliases reference it: [a, b]",
            ),
            (
                told(CodeError::Full),
                400,
                "CodeStorageExceededException",
                "Code storage limit exceeded.",
            ),
        ] {
            assert_eq!(told, (status, name, message.to_owned()));
        }
        assert_eq!(told(OtherRevision).0, 412);
        assert_eq!(told(StoreError::Changed).0, 409);
        // What went wrong inside is no business of clients.
        assert_eq!(told(StoreError::Locked).1, "ServiceException");
    }
}
