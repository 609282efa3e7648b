//! Memory that comes from a snapshot.

use std::time::Duration;

use crate::PAGE;
use crate::guest::boot;
use crate::moving::{move_house, wait_for, wait_until_asleep};

/// To the program, memory that comes from an image is what it was: written pages are private, discarded
/// ones read as zeros, moved and grown ones keep what they hold, forks are apart.
const MEMORY_PROGRAM: &str = "
import ctypes, mmap, os, sys
libc = ctypes.CDLL(None, use_errno=True)
P = 4096
def fill(m):
    for i in range(0, 64, 2): m[i * P] = 65
def sees(m, pages): return [m[i * P] for i in pages]
def address(m): return ctypes.addressof(ctypes.c_char.from_buffer(m))
private = mmap.mmap(-1, 64 * P, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
hidden = mmap.mmap(-1, 64 * P, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
shared = mmap.mmap(-1, 64 * P)
for m in private, hidden, shared: fill(m)
at = address(hidden)
assert libc.mprotect(ctypes.c_void_p(at), 64 * P, 0) == 0
file = open('/tmp/mapped', 'wb+'); file.write(b'f' * 8 * P); file.flush()
mapped = mmap.mmap(file.fileno(), 8 * P, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
mapped[P] = 65
mapped[2 * P:3 * P] = bytes(P)
gate = os.pipe()
child = os.fork()
if child == 0:
    os.read(gate[0], 1)
    os._exit(66 if shared[7 * P] == 7 and private[0] == 65 else 1)
print('ready', flush=True)
sys.stdin.readline()
assert libc.mprotect(ctypes.c_void_p(at), 64 * P, 3) == 0
print(sees(private, range(4)), sees(hidden, range(4)), sees(shared, range(4)), sees(mapped, range(4)))
private.madvise(mmap.MADV_DONTNEED, 0, 10 * P)
mapped.madvise(mmap.MADV_DONTNEED)
print(sees(private, (0, 8, 10, 12)), sees(mapped, range(4)))
private.resize(128 * P)
print(sees(private, (0, 10, 11, 62, 64, 127)))
private[12 * P] = 1
other = os.fork()
if other == 0:
    private[14 * P] = 9
    os._exit(sum(sees(private, (12, 14))))
print(os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]), sees(private, (12, 14)))
shared[7 * P] = 7
os.write(gate[1], b'x')
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
";

const MEMORY_OUTPUT: &str = "[65, 0, 65, 0] [65, 0, 65, 0] [65, 0, 65, 0] [102, 65, 0, 102]
[0, 0, 65, 65] [102, 102, 102, 102]
[0, 65, 0, 65, 0, 0]
10 [1, 65]
66
";

#[test]
fn memory_from_an_image_is_what_it_was() {
    for moves in 0..3 {
        let mut machine = boot(Duration::ZERO);
        machine.start(&["/usr/bin/python3", "-I", "-S", "-c", MEMORY_PROGRAM]);
        wait_for(&machine, "ready\n");
        for _ in 0..moves {
            // A clone is captured like any other: what it never wrote comes from the image before.
            wait_until_asleep(&machine);
            machine = move_house(machine);
            // Pages copied ahead are what they were; places that are none of the image are left alone.
            let tree = machine.system.kernel.tree.lock();
            let mms: Vec<_> = tree.tasks().map(|task| task.mm()).collect();
            drop(tree);
            for mm in &mms {
                let all: Vec<_> = mm.vmas().iter().map(|vma| vma.start..vma.end).collect();
                mm.touch(&all);
                mm.touch(&[0..PAGE, 1..PAGE, 0..u64::MAX - u64::MAX % PAGE]);
                assert!(!mm.written_of_snapshot().is_empty());
                let read = mm.read_of_files();
                mm.read_ahead(&read);
                mm.read_ahead(&all);
                mm.read_ahead(&[0..PAGE, 1..PAGE, 0..u64::MAX - u64::MAX % PAGE]);
            }
        }
        machine.console.push_input(b"\n");
        let output = machine.finish().expect_success();
        assert_eq!(output, MEMORY_OUTPUT, "after {moves} moves");
    }
}
