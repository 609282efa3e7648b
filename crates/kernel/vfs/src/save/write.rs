//! Writing open file descriptions down, with those that they mention.

use std::sync::Arc;

use super::{DescriptionState, MAX_OBJECTS, ObjectsState, Saved, Saver, Unsavable, place};
use crate::{AccessMode, Description};

impl Saver {
    /// Where a path is, in words of the mounts.
    ///
    /// # Errors
    /// A place that no walk leads to.
    pub fn place(&mut self, path: &crate::Path) -> Result<super::PlaceState, Unsavable> {
        place::save(self, path)
    }

    /// Writes every description that was mentioned, and those that they mention.
    ///
    /// # Errors
    /// The first that cannot be saved.
    pub fn write(&mut self) -> Result<(), Unsavable> {
        while let Some(description) = self.descriptions.get(self.saved.len()).cloned() {
            if self.saved.len() >= MAX_OBJECTS {
                return Err(Unsavable::new("too many open files"));
            }
            let state = self.save(&description)?;
            self.saved.push(state);
        }
        Ok(())
    }

    /// What was written; what was mentioned since then too.
    ///
    /// # Errors
    /// As [`write`](Saver::write).
    pub fn finish(mut self) -> Result<ObjectsState, Unsavable> {
        self.write()?;
        Ok(ObjectsState {
            descriptions: self.saved,
            shared: self.shared,
        })
    }

    fn save(&mut self, description: &Arc<Description>) -> Result<DescriptionState, Unsavable> {
        let access = description.access();
        let file = match access {
            AccessMode::Path => None,
            _ => match description.file().save(self)? {
                Saved::Reopen => None,
                Saved::State(state) => Some(state),
            },
        };
        let place = match description.location() {
            Some(path) => Some(self.place(path)?),
            None => None,
        };
        if file.is_none() && place.is_none() {
            return Err(Unsavable::new(description.file().anonymous_name()));
        }
        Ok(DescriptionState {
            access: access.number(),
            flags: description.flags().bits(),
            offset: description.offset(),
            place,
            file,
            signals: description.signals(),
        })
    }
}
