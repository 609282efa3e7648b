//! The code of functions on its way to a node: by digest, in pieces.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::BoxFuture;
use crate::body::{Body, BodyBroken};
use crate::spec::{CodeRef, FunctionSpec, Revision};

/// Why a node did not take code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum CodeError {
    /// What came is not what was said to come.
    #[error("the archive has another digest or length than it should have")]
    Differs,
    /// It did not come in whole.
    #[error("the archive did not come in: {0}")]
    Broken(BodyBroken),
    /// It is no archive that a node takes.
    #[error("the archive is refused: {0}")]
    Refused(String),
    /// The node could not keep it.
    #[error("the code could not be kept: {0}")]
    Disk(String),
    /// The node does not answer.
    #[error("no node could be reached: {0}")]
    NoNode(String),
}

/// What a node keeps of code. Instances of a revision start only where its code is.
pub trait Code: Send + Sync + 'static {
    /// Whether the code is there.
    fn has_code(&self, code: CodeRef) -> BoxFuture<'_, bool>;

    /// Takes an archive, checks it against its name, and keeps what it unpacks to. When this resolves to `Ok`, it
    /// is there, whatever happens to the process.
    fn put_code(&self, code: CodeRef, archive: Body) -> BoxFuture<'_, Result<(), CodeError>>;

    /// Nobody needs this code any more: removes it, unless a revision uses it that was not forgotten; then as soon as
    /// that is.
    fn remove_code(&self, code: CodeRef) -> BoxFuture<'_, ()>;

    /// There is no other code than this: removes what is kept of any other, as [`Self::remove_code`] does.
    fn keep_code(&self, codes: BTreeSet<CodeRef>) -> BoxFuture<'_, ()>;
}

/// What there is, for who supplies nodes with it.
pub trait Catalogue: Send + Sync + 'static {
    /// All revisions there are.
    fn revisions(&self) -> BTreeSet<Revision>;

    /// Those of some revisions that there still are.
    fn functions(&self, revisions: &BTreeSet<Revision>) -> Vec<Arc<FunctionSpec>>;

    /// All code there is.
    fn codes(&self) -> BTreeSet<CodeRef>;

    /// The archive; none if there is none.
    fn archive(&self, code: CodeRef) -> BoxFuture<'_, Option<Body>>;
}
