//! What execve(2) makes of credentials (capabilities(7), "Transformation of capabilities during execve()").

use base_abi::general::CAP_SETUID;

use super::Creds;
use super::credentials::securebits;

/// Whose program a file makes the process: of its set-user-id and set-group-id bits, where they count. Capabilities of files
/// are not kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileIds {
    /// Owner of a set-user-id program.
    pub uid: Option<u32>,
    /// Group of a set-group-id program.
    pub gid: Option<u32>,
}

/// Credentials of a new program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The credentials.
    pub creds: Creds,
    /// `AT_SECURE`: it has rights that its caller did not have.
    pub secure: bool,
}

impl Creds {
    /// Those that a program begins with whose caller has these.
    #[must_use]
    pub fn for_program(&self, file: FileIds) -> Changed {
        let mut new = self.clone();
        if !self.no_new_privs {
            new.euid = file.uid.unwrap_or(self.euid);
            new.egid = file.gid.unwrap_or(self.egid);
        }
        let by_root = !self.secure(securebits::NOROOT);
        let root = by_root && (new.uid == 0 || new.euid == 0);
        let effective = by_root && new.euid == 0;
        new.permitted = if root {
            self.bounding | self.inheritable
        } else {
            0
        };
        let ids_differ = new.euid != self.uid || new.egid != self.gid;
        let gains = new.permitted & !self.permitted != 0;
        if self.no_new_privs && (ids_differ || gains) {
            if !self.has(CAP_SETUID) || self.no_new_privs {
                (new.euid, new.egid) = (new.uid, new.gid);
            }
            new.permitted &= self.permitted;
        }
        (new.suid, new.fsuid) = (new.euid, new.euid);
        (new.sgid, new.fsgid) = (new.egid, new.egid);
        if ids_differ {
            new.ambient = 0;
        }
        new.permitted |= new.ambient;
        new.effective = if effective {
            new.permitted
        } else {
            new.ambient
        };
        new.securebits &= !securebits::KEEP_CAPS;
        let grew = new.permitted & !new.ambient != 0;
        let secure = ids_differ || (new.uid != 0 && (effective || grew));
        Changed { creds: new, secure }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::ALL_CAPABILITIES;

    fn user() -> Creds {
        Creds::new(1000, 1000)
    }

    #[test]
    fn root_keeps_everything_and_others_nothing() {
        let root = Creds::new(0, 0).for_program(FileIds::default());
        assert_eq!(root.creds, Creds::new(0, 0));
        assert!(!root.secure);
        let kept = Creds {
            permitted: ALL_CAPABILITIES,
            effective: ALL_CAPABILITIES,
            securebits: securebits::KEEP_CAPS,
            ..user()
        };
        assert_eq!(kept.for_program(FileIds::default()).creds, user());
    }

    #[test]
    fn ambient_capabilities_are_kept_but_not_by_set_user_id() {
        let ambient = Creds {
            permitted: 6,
            inheritable: 2,
            ambient: 2,
            ..user()
        };
        let new = ambient.for_program(FileIds::default());
        assert_eq!((new.creds.permitted, new.creds.effective), (2, 2));
        assert!(!new.secure);
        let file = FileIds {
            uid: Some(1001),
            gid: None,
        };
        let new = ambient.for_program(file);
        assert_eq!(
            (new.creds.euid, new.creds.suid, new.creds.uid),
            (1001, 1001, 1000)
        );
        assert_eq!((new.creds.permitted, new.creds.ambient), (0, 0));
        assert!(new.secure);
    }

    #[test]
    fn no_new_privileges_means_none() {
        let file = FileIds {
            uid: Some(0),
            gid: Some(0),
        };
        let root = user().for_program(file);
        assert_eq!(root.creds.effective, ALL_CAPABILITIES);
        assert!(root.secure);
        let bound = Creds {
            no_new_privs: true,
            ..user()
        };
        assert_eq!(bound.for_program(file).creds, bound);
        let weak = Creds {
            permitted: 1,
            effective: 1,
            no_new_privs: true,
            ..Creds::new(0, 0)
        };
        assert_eq!(weak.for_program(FileIds::default()).creds.permitted, 1);
    }

    #[test]
    fn root_without_root_is_anybody() {
        let bits = Creds {
            securebits: securebits::NOROOT,
            ..Creds::new(0, 0)
        };
        let new = bits.for_program(FileIds::default()).creds;
        assert_eq!((new.permitted, new.effective), (0, 0));
    }
}
