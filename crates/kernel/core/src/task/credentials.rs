//! Credentials (credentials(7), capabilities(7)).

use base_abi::general::{
    CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_FSETID, CAP_LAST_CAP,
    CAP_LINUX_IMMUTABLE, CAP_MAC_OVERRIDE, CAP_MKNOD,
};
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
    /// [`securebits`].
    pub securebits: u32,
}

/// All capabilities that there are.
pub const ALL_CAPABILITIES: u64 = (1 << (CAP_LAST_CAP + 1)) - 1;

/// Capabilities that setfsuid(2) takes and gives (`CAP_FS_SET`).
const FILE_CAPABILITIES: u64 = 1 << CAP_CHOWN
    | 1 << CAP_DAC_OVERRIDE
    | 1 << CAP_DAC_READ_SEARCH
    | 1 << CAP_FOWNER
    | 1 << CAP_FSETID
    | 1 << CAP_LINUX_IMMUTABLE
    | 1 << CAP_MKNOD
    | 1 << CAP_MAC_OVERRIDE;

/// `PR_SET_SECUREBITS` (capabilities(7), "The securebits flags"). The bit above each one locks it.
pub mod securebits {
    /// Root gets no capabilities by execve(2).
    pub const NOROOT: u32 = 1;
    /// Changes of user ids leave capabilities alone.
    pub const NO_SETUID_FIXUP: u32 = 1 << 2;
    /// `PR_SET_KEEPCAPS`.
    pub const KEEP_CAPS: u32 = 1 << 4;
    /// Nothing is added to the ambient set.
    pub const NO_CAP_AMBIENT_RAISE: u32 = 1 << 6;
    /// All of them.
    pub const ALL: u32 = NOROOT | NO_SETUID_FIXUP | KEEP_CAPS | NO_CAP_AMBIENT_RAISE;
    /// Their locks.
    pub const LOCKS: u32 = ALL << 1;
}

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

    /// Whether a bit of `securebits` is set.
    #[must_use]
    pub fn secure(&self, bit: u32) -> bool {
        self.securebits & bit != 0
    }

    /// After user ids changed: capabilities come and go with root (capabilities(7),
    /// "Effect of user ID changes on capabilities").
    pub fn adjust_capabilities(&mut self, old: &Creds) {
        if self.secure(securebits::NO_SETUID_FIXUP) {
            return;
        }
        let was_root = old.uid == 0 || old.euid == 0 || old.suid == 0;
        let is_root = self.uid == 0 || self.euid == 0 || self.suid == 0;
        if was_root && !is_root {
            if !self.secure(securebits::KEEP_CAPS) {
                self.permitted = 0;
                self.effective = 0;
            }
            self.ambient = 0;
        }
        if old.euid == 0 && self.euid != 0 {
            self.effective = 0;
        }
        if old.euid != 0 && self.euid == 0 {
            self.effective = self.permitted;
        }
    }

    /// After setfsuid(2) alone: those for files come and go with root.
    pub fn adjust_file_capabilities(&mut self, old: &Creds) {
        if self.secure(securebits::NO_SETUID_FIXUP) {
            return;
        }
        if old.fsuid == 0 && self.fsuid != 0 {
            self.effective &= !FILE_CAPABILITIES;
        }
        if old.fsuid != 0 && self.fsuid == 0 {
            self.effective |= self.permitted & FILE_CAPABILITIES;
        }
    }
}
