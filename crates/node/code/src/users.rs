//! Which revisions use which code, and which code may go.
//!
//! ```text
//!   absent ──put──▶ there ──use──▶ used by revisions ──forget the last──▶ there
//!     ▲               │ remove         │ remove
//!     └───────────────┘                ▼
//!     ▲                             doomed: used, and gone with its last user
//!     └──────── forget the last ───────┘     a use or a put of it makes it used or there again
//! ```

use std::collections::{BTreeSet, HashMap};

use proto_node::Revision;

/// What is there, and who uses it.
#[derive(Debug, Default)]
pub(crate) struct Users {
    entries: HashMap<String, Entry>,
}

#[derive(Debug, Default)]
struct Entry {
    revisions: BTreeSet<Revision>,
    doomed: bool,
}

impl Users {
    /// Whether the code is there.
    pub(crate) fn knows(&self, sha256: &str) -> bool {
        self.entries.contains_key(sha256)
    }

    /// It is there from now on.
    pub(crate) fn add(&mut self, sha256: &str) {
        let entry = self.entries.entry(sha256.to_owned()).or_default();
        entry.doomed = false;
    }

    /// A revision uses it from now on; whether it is there.
    pub(crate) fn use_by(&mut self, sha256: &str, revision: &Revision) -> bool {
        let Some(entry) = self.entries.get_mut(sha256) else {
            return false;
        };
        // Who is told of an event that follows its removal has not heard of that.
        entry.doomed = false;
        if !entry.revisions.contains(revision) {
            entry.revisions.insert(revision.clone());
        }
        true
    }

    /// A revision uses nothing any more; what is to be removed now.
    pub(crate) fn forget(&mut self, revision: &Revision) -> Vec<String> {
        let mut gone = Vec::new();
        self.entries.retain(|sha256, entry| {
            let used = entry.revisions.remove(revision);
            let stays = !(used && entry.doomed && entry.revisions.is_empty());
            if !stays {
                gone.push(sha256.clone());
            }
            stays
        });
        gone
    }

    /// Nobody needs it; whether it is to be removed now.
    pub(crate) fn remove(&mut self, sha256: &str) -> bool {
        match self.entries.get_mut(sha256) {
            Some(entry) if !entry.revisions.is_empty() => {
                entry.doomed = true;
                false
            }
            _ => {
                self.entries.remove(sha256);
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_stays_until_its_last_user_is_forgotten() {
        let (one, two) = (Revision("1".into()), Revision("2".into()));
        let mut users = Users::default();
        assert!(!users.use_by("c", &one));
        users.add("c");
        assert!(users.use_by("c", &one) && users.use_by("c", &two));
        assert!(!users.remove("c") && users.knows("c"));
        assert!(users.forget(&one).is_empty());
        assert_eq!(users.forget(&two), ["c"]);
        assert!(!users.knows("c"));
        users.add("c");
        assert!(users.use_by("c", &one));
        assert!(!users.remove("c"));
        users.add("c");
        assert!(users.forget(&one).is_empty(), "it was given again");
        assert!(users.remove("c") && !users.knows("c"));
        assert!(users.remove("c"), "what is unknown may lie about");
    }
}
