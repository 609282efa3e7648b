//! Written and read, and everything that is no snapshot.

use std::fs::File;
use std::os::unix::fs::FileExt;

use proptest::prelude::*;
use sandbox_snapshot::{CapturedAt, Facts, FormatError, PAGES, Sections, read, write};

fn sections() -> Sections {
    Sections {
        facts: Facts {
            kernel_state: 1,
            xcr0: 7,
            xstate_size: 832,
            processor: vec!["avx".to_owned()],
            max_address: 1 << 47,
            images: 1,
            captured_at: CapturedAt::RestorePoint,
        },
        kernel: vec![1; 300],
        memory: vec![2; 5000],
        runtime_api: Vec::new(),
    }
}

fn written() -> (File, Vec<u8>) {
    let file = tempfile::tempfile().expect("a file");
    let len = write(&file, PAGES + 3 * 4096, &sections()).expect("written");
    let mut bytes = vec![0; usize::try_from(len).expect("small")];
    file.read_exact_at(&mut bytes, 0).expect("read");
    (file, bytes)
}

fn of(bytes: &[u8]) -> Result<Sections, FormatError> {
    let file = tempfile::tempfile().expect("a file");
    file.write_all_at(bytes, 0).expect("written");
    read(&file)
}

#[test]
fn what_is_written_is_read() {
    let (file, _) = written();
    assert_eq!(read(&file).expect("a snapshot"), sections());
}

#[test]
fn what_is_cut_short_is_refused() {
    let (_, bytes) = written();
    for len in (0..bytes.len()).step_by(37) {
        assert!(of(&bytes[..len]).is_err(), "{len} bytes");
    }
}

#[test]
fn another_version_is_named() {
    let (_, mut bytes) = written();
    bytes[8] = 9;
    assert!(matches!(of(&bytes), Err(FormatError::Version(9))));
    bytes[0] = 0;
    assert!(matches!(of(&bytes), Err(FormatError::Magic)));
}

proptest! {
    #[test]
    fn any_header_is_read_or_refused(header in proptest::collection::vec(any::<u8>(), 0..200)) {
        let (_, mut bytes) = written();
        bytes[8..8 + header.len()].copy_from_slice(&header);
        let _ = of(&bytes);
    }

    #[test]
    fn a_flipped_bit_never_reads_beyond_the_file(at in 0usize..80, bit in 0u32..8) {
        let (_, mut bytes) = written();
        bytes[at] ^= 1 << bit;
        let _ = of(&bytes);
    }
}
