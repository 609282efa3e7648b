//! Machines for tests; what breaks one is told. Such a test has `on_kvm` in its name, by which `make test` leaves it out where there
//! is no /dev/kvm.
#![allow(dead_code, reason = "each test binary uses its part")]

use platform_kvm::KvmPlatform;

fn told() {
    // Refused when another test of the process has set it.
    let _ = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .try_init();
}

/// A machine.
pub(crate) fn machine() -> KvmPlatform {
    told();
    KvmPlatform::new().expect("a test on KVM needs /dev/kvm")
}

/// One with so many vCPUs at most.
pub(crate) fn with_vcpus(vcpus: usize) -> KvmPlatform {
    told();
    KvmPlatform::with_vcpus(vcpus).expect("a test on KVM needs /dev/kvm")
}
