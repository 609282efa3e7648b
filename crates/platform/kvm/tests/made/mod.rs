//! Machines for tests, on hosts that have them; what breaks one is told.
#![allow(dead_code, reason = "each test binary uses its part")]

use platform_kvm::KvmPlatform;

fn present() -> bool {
    let present = std::path::Path::new("/dev/kvm").exists();
    if !present {
        eprintln!("skipped: this host has no /dev/kvm");
    }
    // Refused when another test of the process has set it.
    let _ = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .try_init();
    present
}

/// A machine; none where the host has no KVM.
pub(crate) fn machine() -> Option<KvmPlatform> {
    present().then(|| KvmPlatform::new().expect("this host makes virtual machines"))
}

/// One with so many vCPUs at most.
pub(crate) fn with_vcpus(vcpus: usize) -> Option<KvmPlatform> {
    let made = || KvmPlatform::with_vcpus(vcpus).expect("this host makes virtual machines");
    present().then(made)
}
