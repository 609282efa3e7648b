//! Why the registry could not do what it was asked: an enum for each kind of operation, without a word for clients.
//!
//! What breaks a constraint of the API's shapes is found by `proto_lambda`, and passed on as it says it (`Shape`).

use proto_lambda::ApiError;

use crate::{CodeError, OtherRevision, StoreError};

/// Why the registry could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The database.
    #[error("the function database cannot be opened")]
    Store(#[from] StoreError),
    /// The code store.
    #[error("the code store cannot be opened")]
    Code(#[from] CodeError),
    /// The thread that opened it died.
    #[error("opening was interrupted")]
    Interrupted(#[from] tokio::task::JoinError),
}

/// Why a name leads to no function.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    /// It names another region.
    #[error("region {wanted} is not this one, {ours}")]
    OtherRegion {
        /// The region that it names.
        wanted: String,
        /// The region here.
        ours: String,
    },
    /// There is no such function, version or alias.
    #[error("there is no {arn}")]
    NotFound {
        /// The ARN by which it was named, complete.
        arn: String,
    },
}

/// Why a list cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The request breaks a constraint of its shape.
    #[error(transparent)]
    Shape(#[from] ApiError),
    /// The function whose list it is.
    #[error(transparent)]
    Find(#[from] FindError),
}

/// Why a function was not created or changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The request breaks a constraint of its shape.
    #[error(transparent)]
    Shape(#[from] ApiError),
    /// The function to be changed.
    #[error(transparent)]
    Find(#[from] FindError),
    /// A function of this name is there.
    #[error("function {0} exists")]
    Exists(String),
    /// Somebody else changed it meanwhile.
    #[error(transparent)]
    Revision(#[from] OtherRevision),
    /// `$LATEST` has other code than was to be published.
    #[error("the code of $LATEST is {current}, not {wanted}")]
    OtherCode {
        /// The hash that was given, in base64.
        wanted: String,
        /// The hash there is, in base64.
        current: String,
    },
    /// It is being created.
    #[error("the function is being created")]
    Pending,
    /// It is being changed, and the one before serves.
    #[error("the function is being updated")]
    Updating {
        /// Its ARN.
        arn: String,
    },
    /// It has as many versions as there may be.
    #[error("the function has as many versions as it may")]
    Versions,
    /// The code.
    #[error(transparent)]
    Code(#[from] CodeError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a function or version was not deleted.
#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    /// There is none.
    #[error(transparent)]
    Find(#[from] FindError),
    /// `$LATEST` goes with its function only.
    #[error("$LATEST goes with its function")]
    Latest,
    /// An alias is no function.
    #[error("an alias is deleted as such")]
    Alias,
    /// Aliases point to the version.
    #[error("aliases point to the version: {0}")]
    Referenced(String),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why an alias cannot be told, was not made or not changed.
#[derive(Debug, thiserror::Error)]
pub enum AliasError {
    /// The request breaks a constraint of its shape.
    #[error(transparent)]
    Shape(#[from] ApiError),
    /// The function, or a version that the alias is to point to.
    #[error(transparent)]
    Find(#[from] FindError),
    /// There is no such alias to tell of.
    #[error("there is no {arn}")]
    Unknown {
        /// ARN of the alias.
        arn: String,
    },
    /// There is no such alias to change.
    #[error("there is no {arn} to change")]
    Missing {
        /// ARN of the alias.
        arn: String,
    },
    /// An alias of this name is there.
    #[error("{arn} exists")]
    Exists {
        /// ARN of the alias.
        arn: String,
    },
    /// Somebody else changed it meanwhile.
    #[error(transparent)]
    Revision(#[from] OtherRevision),
    /// The function has as many aliases as it may.
    #[error("the function has as many aliases as it may")]
    TooMany,
    /// `$LATEST` shares its traffic with no version.
    #[error("$LATEST shares its traffic with no version")]
    LatestWithOther,
    /// The same version twice.
    #[error("version {0} is given twice")]
    Twice(u64),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}
