//! Building numbered objects again.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use super::{DescriptionState, FileState, LoadError, MAX_OBJECTS, ObjectId, ObjectsState, place};
use crate::{AccessMode, Description, File, MountTable, Path, StatusFlags};

/// Knows every kind of file that has a state of its own.
pub trait FileMaker {
    /// Builds the file. `place` is where it was opened, if anywhere. What refers to descriptions goes to [`Loader::later`].
    ///
    /// # Errors
    /// What is wrong with the state.
    fn make(
        &self,
        state: &FileState,
        place: Option<&Path>,
        loader: &mut Loader,
    ) -> Result<Arc<dyn File>, LoadError>;
}

type Later = Box<dyn FnOnce(&mut Loader) -> Result<(), LoadError>>;

/// Holds what was built so far.
pub struct Loader {
    mounts: Arc<MountTable>,
    descriptions: Vec<Arc<Description>>,
    shared: Vec<Vec<u8>>,
    built: HashMap<ObjectId, Arc<dyn Any + Send + Sync>>,
    later: Vec<Later>,
    /// Nothing may mention an object of this number or above: keeps shared objects free of circles.
    bound: ObjectId,
}

impl Loader {
    /// Builds all descriptions; afterwards every one is found by its number.
    ///
    /// # Errors
    /// The first thing that does not fit.
    pub fn load(
        mounts: &Arc<MountTable>,
        state: ObjectsState,
        maker: &dyn FileMaker,
    ) -> Result<Loader, LoadError> {
        if state.descriptions.len() > MAX_OBJECTS || state.shared.len() > MAX_OBJECTS {
            return Err(LoadError::Malformed("number of objects"));
        }
        let mut loader = Loader {
            mounts: Arc::clone(mounts),
            descriptions: Vec::with_capacity(state.descriptions.len()),
            shared: state.shared,
            built: HashMap::new(),
            later: Vec::new(),
            bound: ObjectId::MAX,
        };
        for description in &state.descriptions {
            let built = loader.open(description, maker)?;
            loader.descriptions.push(built);
        }
        for link in std::mem::take(&mut loader.later) {
            link(&mut loader)?;
        }
        Ok(loader)
    }

    /// A description by number.
    ///
    /// # Errors
    /// [`LoadError::Malformed`] when there is none.
    pub fn description(&self, id: ObjectId) -> Result<Arc<Description>, LoadError> {
        let index = usize::try_from(id).ok();
        let found = index.and_then(|i| self.descriptions.get(i));
        found
            .cloned()
            .ok_or(LoadError::Malformed("number of an open file"))
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

    /// Walks to a saved place.
    ///
    /// # Errors
    /// When it is not there.
    pub fn place(&self, state: &super::PlaceState) -> Result<Path, LoadError> {
        place::load(&self.mounts, state)
    }

    fn open(
        &mut self,
        state: &DescriptionState,
        maker: &dyn FileMaker,
    ) -> Result<Arc<Description>, LoadError> {
        let access = AccessMode::from_number(state.access)
            .ok_or(LoadError::Malformed("access mode of an open file"))?;
        let flags = StatusFlags::from_bits_truncate(state.flags);
        let place = match &state.place {
            Some(place) => Some(place::load(&self.mounts, place)?),
            None => None,
        };
        let file = match (&state.file, &place) {
            (Some(file), place) => maker.make(file, place.as_ref(), self)?,
            (None, Some(place)) => reopen(place, access, flags)?,
            (None, None) => return Err(LoadError::Malformed("an open file without a place")),
        };
        let description = Description::shared(file, access, flags, place);
        description.set_offset(state.offset);
        Ok(description)
    }
}

fn reopen(
    place: &Path,
    access: AccessMode,
    flags: StatusFlags,
) -> Result<Arc<dyn File>, LoadError> {
    let flags = flags.bits() | access.open_flags();
    crate::open::again(place, access, flags).map_err(|errno| {
        let name = place.dentry().name();
        LoadError::Failed {
            what: format!("open {:?}", String::from_utf8_lossy(&name)),
            errno,
        }
    })
}
