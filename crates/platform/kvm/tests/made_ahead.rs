//! vCPUs that are made before contexts want them: as many as will run, and never more than the limit. One test, as it
//! counts descriptors of its process.

use platform_api::{Expected, MapOp, Platform};
use platform_conformance::guest::{FREE, Guest, PAGE, RW, anonymous};
use platform_conformance::threads;
use platform_kvm::KvmPlatform;

fn vcpus() -> usize {
    let entries = std::fs::read_dir("/proc/self/fd").expect("there is a /proc");
    let targets = entries.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    let is_vcpu = |target: &std::path::PathBuf| target.to_string_lossy().contains("kvm-vcpu");
    targets.filter(is_vcpu).count()
}

#[test]
fn vcpus_are_made_for_those_that_run_within_the_limit_on_kvm() {
    let expect = |contexts, running| Expected { contexts, running };
    let platform = KvmPlatform::with_vcpus(6).expect("this host makes virtual machines");
    assert_eq!(vcpus(), 1);
    // Those that sleep need none, and one is there.
    platform.prepare(&[expect(5, 1), expect(3, 0)]);
    assert_eq!(vcpus(), 1);
    platform.prepare(&[expect(5, 2), expect(3, 1)]);
    assert_eq!(vcpus(), 3);
    platform.prepare(&[expect(usize::MAX, usize::MAX), expect(1, 1)]);
    assert_eq!(vcpus(), 6);
    threads::many(&platform);
    threads::run_in_parallel(&platform);
    assert_eq!(vcpus(), 6);
    drop(platform);
    // The one that visits pages runs no context.
    let platform = KvmPlatform::with_vcpus(6).expect("this host makes virtual machines");
    let guest = Guest::new(&platform);
    let (addr, len) = (FREE, 64 * PAGE);
    guest.apply(&[anonymous(addr, len, RW), MapOp::Touch { addr, len }]);
    assert_eq!(vcpus(), 2);
    platform.prepare(&[expect(3, 3)]);
    assert_eq!(vcpus(), 4);
    drop((guest, platform));
    let platform = KvmPlatform::new().expect("this host makes virtual machines");
    platform.prepare(&[expect(1000, 1000)]);
    assert_eq!(vcpus(), 32);
}
