//! Numbering objects by identity and writing them down.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use super::{DescriptionState, MAX_OBJECTS, ObjectId, Unsavable};
use crate::attr::InodeId;
use crate::{Description, MountTable};

/// Collects everything that open files refer to.
pub struct Saver {
    mounts: Arc<MountTable>,
    numbers: HashMap<usize, ObjectId>,
    pub(super) descriptions: Vec<Arc<Description>>,
    pub(super) saved: Vec<DescriptionState>,
    shared_numbers: HashMap<usize, ObjectId>,
    /// Files without a name, by what makes them the same.
    nameless: HashMap<InodeId, ObjectId>,
    /// Holds what was numbered, so that no address comes twice.
    kept: Vec<Arc<dyn Any + Send + Sync>>,
    pub(super) shared: Vec<Vec<u8>>,
}

impl Saver {
    /// Nothing numbered yet; places are named by the mounts of this table.
    #[must_use]
    pub fn new(mounts: &Arc<MountTable>) -> Saver {
        Saver {
            mounts: Arc::clone(mounts),
            numbers: HashMap::new(),
            descriptions: Vec::new(),
            saved: Vec::new(),
            shared_numbers: HashMap::new(),
            nameless: HashMap::new(),
            kept: Vec::new(),
            shared: Vec::new(),
        }
    }

    /// The number of a description; it is written by [`finish`](Saver::finish).
    pub fn description(&mut self, description: &Arc<Description>) -> ObjectId {
        let next = u32::try_from(self.descriptions.len()).unwrap_or(u32::MAX);
        let address = Arc::as_ptr(description) as usize;
        let id = *self.numbers.entry(address).or_insert(next);
        if id == next {
            self.descriptions.push(Arc::clone(description));
        }
        id
    }

    /// The number of an object that several files share; `state` is asked the first time. What it
    /// mentions gets smaller numbers, so that objects are never circular.
    ///
    /// # Errors
    /// What `state` says.
    pub fn shared<T: Any + Send + Sync>(
        &mut self,
        object: &Arc<T>,
        state: impl FnOnce(&mut Saver) -> Result<Vec<u8>, Unsavable>,
    ) -> Result<ObjectId, Unsavable> {
        let address = Arc::as_ptr(object).cast::<u8>() as usize;
        if let Some(id) = self.shared_numbers.get(&address) {
            return Ok(*id);
        }
        let bytes = state(self)?;
        let id = self.push(bytes)?;
        self.kept
            .push(Arc::clone(object) as Arc<dyn Any + Send + Sync>);
        self.shared_numbers.insert(address, id);
        Ok(id)
    }

    fn push(&mut self, bytes: Vec<u8>) -> Result<ObjectId, Unsavable> {
        if self.shared.len() >= MAX_OBJECTS {
            return Err(Unsavable::new("too many objects"));
        }
        let id = u32::try_from(self.shared.len()).unwrap_or(u32::MAX);
        self.shared.push(bytes);
        Ok(id)
    }

    /// The number of a file that has no name any more; `state` is asked the first time.
    pub(super) fn nameless(
        &mut self,
        inode: InodeId,
        state: impl FnOnce() -> Result<Vec<u8>, Unsavable>,
    ) -> Result<ObjectId, Unsavable> {
        if let Some(id) = self.nameless.get(&inode) {
            return Ok(*id);
        }
        let id = self.push(state()?)?;
        self.nameless.insert(inode, id);
        Ok(id)
    }

    pub(super) fn mounts(&self) -> &Arc<MountTable> {
        &self.mounts
    }

    /// Every description that was mentioned, and its number.
    pub fn descriptions(&self) -> impl Iterator<Item = (ObjectId, &Arc<Description>)> {
        (0..).zip(&self.descriptions)
    }
}
