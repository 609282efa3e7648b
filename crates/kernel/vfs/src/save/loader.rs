//! Building numbered objects again.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use super::{DescriptionState, LoadError, ObjectId};
use crate::{Description, MountTable};

type Later = Box<dyn FnOnce(&mut Loader) -> Result<(), LoadError>>;

/// Holds what was built so far.
pub struct Loader {
    pub(super) mounts: Arc<MountTable>,
    pub(super) descriptions: Vec<Option<Arc<Description>>>,
    /// Files that tell of tasks: opened when there are tasks.
    pub(super) of_tasks: Vec<(usize, DescriptionState)>,
    pub(super) shared: Vec<Vec<u8>>,
    pub(super) built: HashMap<ObjectId, Arc<dyn Any + Send + Sync>>,
    pub(super) later: Vec<Later>,
    /// Nothing may mention an object of this number or above: keeps shared objects free of circles.
    pub(super) bound: ObjectId,
}

impl Loader {
    /// A description by number.
    ///
    /// # Errors
    /// [`LoadError::Malformed`] when there is none.
    pub fn description(&self, id: ObjectId) -> Result<Arc<Description>, LoadError> {
        let index = usize::try_from(id).ok();
        let found = index.and_then(|i| self.descriptions.get(i));
        found
            .and_then(Option::clone)
            .ok_or(LoadError::Malformed("number of an open file"))
    }

    /// Every description that is there.
    pub fn descriptions(&self) -> impl Iterator<Item = &Arc<Description>> {
        self.descriptions.iter().flatten()
    }

    /// A shared object by number; `build` is asked the first time, with the bytes that were saved.
    ///
    /// # Errors
    /// What `build` says; a number that is none or of another type.
    pub fn shared<T: Any + Send + Sync>(
        &mut self,
        id: ObjectId,
        build: impl FnOnce(&[u8], &mut Loader) -> Result<Arc<T>, LoadError>,
    ) -> Result<Arc<T>, LoadError> {
        const WRONG: LoadError = LoadError::Malformed("number of a shared object");
        if let Some(known) = self.built.get(&id) {
            return Arc::clone(known).downcast().map_err(|_| WRONG);
        }
        if id >= self.bound {
            return Err(WRONG);
        }
        let index = usize::try_from(id).map_err(|_| WRONG)?;
        let bytes = std::mem::take(self.shared.get_mut(index).ok_or(WRONG)?);
        let outer = std::mem::replace(&mut self.bound, id);
        let built = build(&bytes, self);
        self.bound = outer;
        let built = built?;
        let any: Arc<dyn Any + Send + Sync> = built.clone();
        self.built.insert(id, any);
        Ok(built)
    }

    /// Runs when all descriptions exist.
    pub fn later(&mut self, link: impl FnOnce(&mut Loader) -> Result<(), LoadError> + 'static) {
        self.later.push(Box::new(link));
    }

    pub(super) fn mounts(&self) -> &MountTable {
        &self.mounts
    }
}
