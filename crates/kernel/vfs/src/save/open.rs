//! Opening saved descriptions again.

use std::collections::HashMap;
use std::sync::Arc;

use super::{
    DescriptionState, FileState, LoadError, Loader, MAX_OBJECTS, ObjectId, ObjectsState, place,
};
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

impl Loader {
    /// Builds all descriptions but those of files that tell of tasks.
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
            of_tasks: Vec::new(),
            shared: state.shared,
            built: HashMap::new(),
            later: Vec::new(),
            bound: ObjectId::MAX,
        };
        for (index, description) in state.descriptions.into_iter().enumerate() {
            let built = if loader.tells_of_tasks(&description) {
                loader.of_tasks.push((index, description));
                None
            } else {
                Some(loader.open(&description, maker)?)
            };
            loader.descriptions.push(built);
        }
        Ok(loader)
    }

    /// Opens the rest, when all tasks exist; afterwards every description is found by its number.
    ///
    /// # Errors
    /// The first thing that does not fit.
    pub fn finish(&mut self, maker: &dyn FileMaker) -> Result<(), LoadError> {
        for (index, description) in std::mem::take(&mut self.of_tasks) {
            let built = self.open(&description, maker)?;
            if let Some(place) = self.descriptions.get_mut(index) {
                *place = Some(built);
            }
        }
        for link in std::mem::take(&mut self.later) {
            link(self)?;
        }
        Ok(())
    }

    /// Whether it is a file of proc(5), which has none of a process before that has tasks.
    fn tells_of_tasks(&self, description: &DescriptionState) -> bool {
        let place = description.place.as_ref();
        let mount = place.and_then(|place| place::mount(&self.mounts, place));
        description.file.is_none() && mount.is_some_and(|mount| mount.fs().name() == "proc")
    }

    /// Walks to a saved place.
    ///
    /// # Errors
    /// When it is not there.
    pub fn place(&mut self, state: &super::PlaceState) -> Result<Path, LoadError> {
        place::load(self, state)
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
            Some(place) => Some(self.place(place)?),
            None => None,
        };
        let file = match (&state.file, &place) {
            (Some(file), place) => maker.make(file, place.as_ref(), self)?,
            (None, Some(place)) => reopen(place, access, flags)?,
            (None, None) => return Err(LoadError::Malformed("an open file without a place")),
        };
        let description = Description::shared(file, access, flags, place);
        if let Some(signals) = state.signals {
            *description.signal_settings().lock() = signals;
        }
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
