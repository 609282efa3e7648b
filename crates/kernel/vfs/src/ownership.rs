//! Owner and permission of files that no directory names: pipes, memory files.

use base_abi::structs::Stat;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::SetAttr;

/// The numbers themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owned {
    /// Permission bits.
    pub mode: u32,
    /// Owner: the file system user id of who made the file (credentials(7)).
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Those of one file, until chmod(2) or chown(2) change them.
#[derive(Debug, Default)]
pub struct Ownership(Mutex<Owned>);

impl Ownership {
    /// As the file is made.
    #[must_use]
    pub fn new(owned: Owned) -> Ownership {
        Ownership(Mutex::new(owned))
    }

    /// As it is now.
    #[must_use]
    pub fn get(&self) -> Owned {
        *self.0.lock()
    }

    /// As it was when it was saved.
    pub fn restore(&self, owned: Owned) {
        *self.0.lock() = owned;
    }

    /// A status with them; `stat.mode` has the type.
    #[must_use]
    pub fn fill(&self, stat: Stat) -> Stat {
        let Owned { mode, uid, gid } = self.get();
        Stat {
            mode: stat.mode | mode,
            uid,
            gid,
            ..stat
        }
    }

    /// Takes what a change says of them.
    pub fn change(&self, change: &SetAttr) {
        let mut owned = self.0.lock();
        owned.mode = change.mode.map_or(owned.mode, |mode| mode & 0o7777);
        owned.uid = change.uid.unwrap_or(owned.uid);
        owned.gid = change.gid.unwrap_or(owned.gid);
    }
}
