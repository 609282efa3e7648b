//! The conformance suite, in virtual machines; says so and does nothing on hosts without KVM.

fn make() -> Option<platform_kvm::KvmPlatform> {
    if !std::path::Path::new("/dev/kvm").exists() {
        eprintln!("skipped: this host has no /dev/kvm");
        return None;
    }
    Some(platform_kvm::KvmPlatform::new().expect("this host makes virtual machines"))
}

platform_conformance::suite!(make if present);
