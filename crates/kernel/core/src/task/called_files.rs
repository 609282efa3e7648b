//! Which open files a call is about: numbers are looked up once, and the call stays with what they named, whatever they name
//! when it wakes up (Linux holds the `struct file` from fdget to fdput).

use std::sync::Arc;

use kernel_vfs::{Description, Events, Fd};

/// An open file that a call named by number.
#[derive(Clone)]
pub struct CalledFile {
    /// The number it was named by.
    pub fd: Fd,
    /// What poll(2) and select(2) wait for; empty for other calls.
    pub interest: Events,
    /// What the number named when the call began.
    pub description: Arc<Description>,
}

/// The open files of one call. Those of most calls need no memory of their own.
#[derive(Clone, Default)]
pub struct CalledFiles {
    few: [Option<CalledFile>; 2],
    /// More than those, noted when the call begins to wait.
    many: Option<Arc<[CalledFile]>>,
}

impl CalledFiles {
    /// What a number names to this call, if it was looked up already.
    #[must_use]
    pub fn get(&self, fd: Fd) -> Option<&Arc<Description>> {
        let found = self.iter().find(|one| one.fd == fd);
        found.map(|one| &one.description)
    }

    /// Notes what a number names. Of more than two files only the first two are kept: see [`keep_many`](Self::keep_many).
    pub fn keep(&mut self, fd: Fd, description: &Arc<Description>) {
        if let Some(place) = self.few.iter_mut().find(|place| place.is_none()) {
            *place = Some(CalledFile {
                fd,
                interest: Events::empty(),
                description: Arc::clone(description),
            });
        }
    }

    /// Those of a call that was saved.
    #[must_use]
    pub fn restored(files: Vec<CalledFile>) -> CalledFiles {
        CalledFiles {
            few: Default::default(),
            many: (!files.is_empty()).then(|| files.into()),
        }
    }

    /// Notes the files of a call that has any number of them.
    pub fn keep_many(&mut self, files: Vec<CalledFile>) {
        self.many = Some(files.into());
    }

    /// The files of a call that has any number of them, once it has waited.
    #[must_use]
    pub fn many(&self) -> Option<Arc<[CalledFile]>> {
        self.many.clone()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &CalledFile> {
        let many = self.many.iter().flat_map(|many| many.iter());
        self.few.iter().flatten().chain(many)
    }
}

impl std::fmt::Debug for CalledFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.iter().map(|one| one.fd))
            .finish()
    }
}
