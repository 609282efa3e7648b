//! Programs that are captured over the image that they came from: what is the same is named, not stored.

mod guest;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use base_eventually::eventually;
use guest::{Machine, boot, limit};
use kernel_files::console::Stream;
use kernel_mm::{MemorySaver, SavedMemory, SnapshotWriter};
use kernel_syscall::snapshot::{SavedKernel, capture, load_space};
use kernel_vfs::save::LoadError;

/// A snapshot, and the images that hold its pages: its own first.
struct Layer {
    state: Vec<u8>,
    memory: Vec<u8>,
    images: Vec<Arc<File>>,
}

impl Layer {
    /// Captures a machine that came from `under`, if from any, and ends it.
    fn of(machine: Machine, under: &[Arc<File>]) -> Layer {
        let image = Arc::new(tempfile::tempfile().expect("an image"));
        let mut memory = None;
        let captured = capture(&machine.system, limit(), &mut |mms, saver| {
            let mut writer = SnapshotWriter::new(&image, 0, 1 << 30);
            let mut saving = MemorySaver::over(&mut writer);
            for mm in mms {
                saving.add(mm, saver).expect("memory");
            }
            memory = Some(saving.finish().expect("memory"));
            writer.finish().expect("an image");
            Ok(())
        });
        let state = captured.expect("capture").state;
        drop(machine);
        let mut images = vec![image];
        images.extend_from_slice(under);
        Layer {
            state,
            memory: memory.expect("memory"),
            images,
        }
    }

    /// A machine that goes on from here, still frozen.
    fn enter(&self) -> Result<Machine, LoadError> {
        let saved = SavedKernel::parse(&self.state)?;
        let mut spaces = SavedMemory::parse(&self.memory)?;
        let next = boot(saved.monotonic());
        saved.load(&next.system, &next.standard, &mut |id, loader| {
            load_space(&next.system, &mut spaces, &self.images, id, loader)
        })?;
        Ok(next)
    }

    /// A machine that goes on from here until it prints `text` and sleeps.
    fn until(&self, input: &str, text: &str) -> Machine {
        let machine = self.enter().expect("load");
        machine.console.push_input(input.as_bytes());
        machine.system.kernel.thaw();
        rest(&machine, text);
        machine
    }

    /// What it prints when it goes on with this input.
    fn finish(&self, input: &str) -> String {
        let machine = self.enter().expect("load");
        machine.console.push_input(input.as_bytes());
        machine.console.set_closed(Stream::Input);
        machine.system.kernel.thaw();
        machine.finish().expect_success()
    }

    /// Bytes on disk of its own image.
    fn stored(&self) -> u64 {
        use std::os::unix::fs::MetadataExt;
        self.images[0].metadata().expect("an image").blocks() * 512
    }
}

/// Waits until `text` was printed and every task sleeps.
fn rest(machine: &Machine, text: &str) {
    let mut seen = String::new();
    eventually("the program printed it", || {
        let more = machine.console.take_output(Stream::Output, 1 << 16);
        seen.push_str(&String::from_utf8_lossy(&more));
        seen.contains(text)
    });
    eventually("the program rests", || {
        let tree = machine.system.kernel.tree.lock();
        tree.tasks().all(|t| t.blocked_call.lock().is_some())
    });
}

const PROGRAM: &str = "
import mmap, sys
big = bytearray(b'x' * (8 << 20))
private = mmap.mmap(-1, 1 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
shared = mmap.mmap(-1, 1 << 20)
for at in range(0, 1 << 20, 4096):
    private[at:at+4] = b'%04d' % (at >> 12)
    shared[at:at+4] = b'%04d' % (at >> 12)
steps = []
while True:
    print('ready', len(steps), flush=True)
    line = sys.stdin.readline().strip()
    if not line: break
    steps.append(line)
    n = len(steps)
    # Every third page; some of them to what they were, some to zeros.
    for at in range(n * 4096, 1 << 20, 3 * 4096):
        private[at:at+4] = b'%04d' % (at >> 12) if at % 5 else bytes(4)
        shared[at:at+4] = b'step'
    private[200 << 12:210 << 12] = bytes(10 << 12)
    private.madvise(mmap.MADV_DONTNEED, 100 << 12, 20 << 12)
    big[n << 20] = n
print(steps, sum(big), sum(private[:]), sum(shared[:]))
";

/// What the program prints without any snapshot.
fn straight(input: &str) -> String {
    let machine = boot(Duration::ZERO);
    machine.console.push_input(input.as_bytes());
    machine.console.set_closed(Stream::Input);
    machine.start(&["/usr/bin/python3", "-I", "-S", "-c", PROGRAM]);
    let all = machine.finish().expect_success();
    all.lines().last().expect("a line").to_owned()
}

fn layers() -> [Layer; 3] {
    let machine = boot(Duration::ZERO);
    machine.start(&["/usr/bin/python3", "-I", "-S", "-c", PROGRAM]);
    rest(&machine, "ready 0\n");
    let first = Layer::of(machine, &[]);
    let second = Layer::of(first.until("one\n", "ready 1\n"), &first.images);
    let third = Layer::of(second.until("two\n", "ready 2\n"), &second.images);
    [first, second, third]
}

#[test]
fn each_layer_goes_on_as_the_program_would() {
    let [first, second, third] = layers();
    let last = |all: String| all.lines().last().expect("a line").to_owned();
    let wanted = straight("one\ntwo\nthree\n");
    assert_eq!(last(third.finish("three\n")), wanted);
    assert_eq!(last(second.finish("two\nthree\n")), wanted);
    assert_eq!(last(first.finish("one\ntwo\nthree\n")), wanted);
    assert_eq!(last(third.finish("")), straight("one\ntwo\n"));
    // The eight megabytes are in the first one alone.
    assert!(first.stored() > 9 << 20, "{}", first.stored());
    for layer in [&second, &third] {
        assert!(layer.stored() * 2 < first.stored(), "{}", layer.stored());
    }
}

#[test]
fn a_layer_without_what_it_lies_over_or_with_flipped_bits_is_refused_or_goes_on() {
    let [_, _, mut third] = layers();
    let images = std::mem::take(&mut third.images);
    for fewer in 1..images.len() {
        third.images = images[..fewer].to_vec();
        assert!(matches!(third.enter(), Err(LoadError::Malformed(_))));
    }
    // One that is too short for what is named of it.
    let short = tempfile::tempfile().expect("a file");
    short.write_all_at(&[0; 4096], 0).expect("written");
    third.images = vec![
        Arc::clone(&images[0]),
        Arc::new(short),
        Arc::clone(&images[2]),
    ];
    assert!(matches!(third.enter(), Err(LoadError::Malformed(_))));
    third.images = images;
    let memory = third.memory.clone();
    let len = memory.len();
    for n in 0..60 {
        // Spread over all of it, the end most of all: that is where the runs are.
        let at = if n % 2 == 0 {
            len * n / 60
        } else {
            len - 1 - (n * n) % len
        };
        third.memory.clone_from(&memory);
        third.memory[at] ^= 1 << (n % 8);
        drop(third.enter());
    }
}
