//! Saving kernel objects as plain data, and building them again in another kernel.
//!
//! What several others refer to (open file descriptions, pipes, sockets …) is numbered by identity
//! while saving and built once while loading. A [`Saver`] and a [`Loader`] work through their
//! objects in order and never recurse, so that saved state cannot exhaust the stack; references to
//! descriptions are resolved after all of them exist ([`Loader::later`]).
//!
//! Loading is parsing of untrusted bytes: every number is checked, every list bounded.

mod loader;
mod open;
mod place;
mod saver;
mod write;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use loader::Loader;
pub use open::FileMaker;
pub use place::PlaceState;
pub use saver::Saver;

use crate::{Errno, SignalDriven};

/// The number of a saved object, in order of first mention.
pub type ObjectId = u32;

/// Objects of one sort that a state may hold.
pub const MAX_OBJECTS: usize = 1 << 20;

/// Something that a snapshot cannot hold; the instance goes on without one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot be saved: {what}")]
pub struct Unsavable {
    /// What it is, for people.
    pub what: String,
}

impl Unsavable {
    /// Names the thing.
    pub fn new(what: impl Into<String>) -> Unsavable {
        Unsavable { what: what.into() }
    }
}

/// Saved state that does not fit this kernel or is no saved state at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The bytes are not what they claim to be.
    #[error("malformed state: {0}")]
    Malformed(&'static str),
    /// A kind of object that this kernel does not know.
    #[error("unknown kind of object {0:?}")]
    UnknownKind(String),
    /// The surroundings are not those at capture.
    #[error("the sandbox differs from the one that was captured: {0}")]
    Differs(String),
    /// An operation that worked at capture fails now.
    #[error("{what}: {errno}")]
    Failed {
        /// What was attempted.
        what: String,
        /// How it failed.
        errno: Errno,
    },
}

impl LoadError {
    /// For `map_err`: names what failed.
    pub fn failed(what: impl Into<String>) -> impl FnOnce(Errno) -> LoadError {
        move |errno| LoadError::Failed {
            what: what.into(),
            errno,
        }
    }
}

/// A file's own state: its kind decides who reads the bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FileState {
    /// Short lower-case name of the kind.
    pub kind: String,
    /// What the kind's saver wrote.
    pub bytes: Vec<u8>,
}

/// How an open file comes back.
#[derive(Debug)]
pub enum Saved {
    /// It is opened again at its place in the tree.
    Reopen,
    /// It is built from this.
    State(FileState),
}

impl Saved {
    /// The state of a file of this kind.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub fn state(kind: &'static str, state: &impl Serialize) -> Result<Saved, Unsavable> {
        Ok(Saved::State(FileState {
            kind: kind.to_owned(),
            bytes: encode(state)?,
        }))
    }
}

/// Plain data as bytes.
///
/// # Errors
/// When a type has no fixed form; none of ours.
pub fn encode(state: &impl Serialize) -> Result<Vec<u8>, Unsavable> {
    postcard::to_stdvec(state).map_err(|error| Unsavable::new(error.to_string()))
}

/// Plain data from bytes; all of them must belong to it.
///
/// # Errors
/// [`LoadError::Malformed`].
pub fn decode<T: DeserializeOwned>(bytes: &[u8], what: &'static str) -> Result<T, LoadError> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        _ => Err(LoadError::Malformed(what)),
    }
}

/// An open file description.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct DescriptionState {
    access: u8,
    flags: u32,
    offset: u64,
    place: Option<PlaceState>,
    file: Option<FileState>,
    signals: Option<SignalDriven>,
}

/// All numbered objects.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct ObjectsState {
    pub(crate) descriptions: Vec<DescriptionState>,
    pub(crate) shared: Vec<Vec<u8>>,
}

impl ObjectsState {
    /// How many descriptions there are.
    #[must_use]
    pub fn descriptions(&self) -> usize {
        self.descriptions.len()
    }
}
