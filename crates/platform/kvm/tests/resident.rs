//! What counts against a memory limit: every frame that takes memory, however it came to, and no other.

mod made;

use platform_conformance::code;
use platform_conformance::guest::{FREE, Guest, PAGE, RW, anonymous};

#[test]
fn pages_that_were_only_read_count_on_kvm() {
    let platform = made::machine();
    let guest = Guest::new(&platform);
    guest.apply(&[anonymous(FREE, 64 * PAGE, RW)]);
    assert_eq!(guest.run(code::load(), |r| r.rdi = FREE), 0);
    let one = guest.space.resident_bytes();
    for page in 1..64 {
        assert_eq!(guest.run(code::load(), |r| r.rdi = FREE + page * PAGE), 0);
    }
    let all = guest.space.resident_bytes();
    assert_eq!(all - one, 63 * PAGE);
    let written = guest.space.written_pages(FREE..FREE + 64 * PAGE);
    assert_eq!(written.expect("the platform knows"), []);
}
