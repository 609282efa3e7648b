//! Credentials (credentials(7), capabilities(7)).

use base_abi::general::{CAP_DAC_OVERRIDE, CAP_LAST_CAP};
use kernel_vfs::Credentials;

/// Who a process is. One set per process: POSIX semantics without libc's signal dance.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[expect(missing_docs, reason = "field names are credentials(7)'s own")]
pub struct Creds {
    pub uid: u32,
    pub euid: u32,
    pub suid: u32,
    pub fsuid: u32,
    pub gid: u32,
    pub egid: u32,
    pub sgid: u32,
    pub fsgid: u32,
    pub groups: Vec<u32>,
    /// Effective, permitted and inheritable capabilities.
    pub effective: u64,
    pub permitted: u64,
    pub inheritable: u64,
    pub bounding: u64,
    pub ambient: u64,
    pub no_new_privs: bool,
    pub securebits: u32,
    pub keep_caps: bool,
}

/// All capabilities that there are.
const ALL_CAPABILITIES: u64 = (1 << (CAP_LAST_CAP + 1)) - 1;

impl Creds {
    /// All ids the same; root has every capability *inside* the sandbox.
    #[must_use]
    pub fn new(uid: u32, gid: u32) -> Creds {
        let capabilities = if uid == 0 { ALL_CAPABILITIES } else { 0 };
        Creds {
            uid,
            euid: uid,
            suid: uid,
            fsuid: uid,
            gid,
            egid: gid,
            sgid: gid,
            fsgid: gid,
            groups: vec![gid],
            effective: capabilities,
            permitted: capabilities,
            inheritable: 0,
            bounding: ALL_CAPABILITIES,
            ambient: 0,
            no_new_privs: false,
            securebits: 0,
            keep_caps: false,
        }
    }

    /// As the file layers want them.
    #[must_use]
    pub fn for_files(&self) -> Credentials {
        Credentials {
            uid: self.fsuid,
            gid: self.fsgid,
            groups: self.groups.clone(),
            privileged: self.has(CAP_DAC_OVERRIDE),
        }
    }

    /// Whether a capability is effective, by its number in capabilities(7)'s header.
    #[must_use]
    pub fn has(&self, capability: u32) -> bool {
        self.effective & (1 << capability.min(63)) != 0
    }

    /// After the effective uid changed: capabilities come and go with root (capabilities(7),
    /// "Effect of user ID changes on capabilities").
    pub fn adjust_capabilities(&mut self, old: &Creds) {
        let was_root = old.uid == 0 || old.euid == 0 || old.suid == 0;
        let is_root = self.uid == 0 || self.euid == 0 || self.suid == 0;
        if was_root && !is_root && !self.keep_caps {
            self.permitted = 0;
            self.effective = 0;
            self.ambient = 0;
        }
        if old.euid == 0 && self.euid != 0 {
            self.effective = 0;
        }
        if old.euid != 0 && self.euid == 0 {
            self.effective = self.permitted;
        }
    }
}
