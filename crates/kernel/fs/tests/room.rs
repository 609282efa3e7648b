//! What the budget of a writable file system holds against: holes, reserved pages, pages that came through mappings.

use std::os::unix::fs::FileExt;
use std::sync::Arc;

use base_abi::general::FALLOC_FL_KEEP_SIZE;
use base_abi::general::{O_CREAT, O_RDWR};
use kernel_fs::{Budget, BudgetLimits, BudgetPages, RootAttr, TmpFs};
use kernel_vfs::{
    At, Credentials, Description, Errno, FsContext, MountFlags, MountTable, OpenHow, Vfs,
};

const KIB: u64 = 1 << 10;

/// A file in a file system that holds 64 KiB.
fn file() -> (Arc<Description>, Budget) {
    let budget = Budget::new(BudgetLimits {
        bytes: 64 * KIB,
        inodes: 10,
    });
    let tmp = TmpFs::new(budget.clone(), RootAttr::default()).unwrap();
    let table = MountTable::new(Arc::<Vfs>::default(), tmp, "none", MountFlags::empty()).unwrap();
    let who = Credentials {
        privileged: true,
        ..Credentials::default()
    };
    let how = OpenHow {
        flags: O_CREAT | O_RDWR,
        mode: 0o644,
        ..OpenHow::default()
    };
    let fs = FsContext::new(table);
    let file = At::cwd(&fs, &who).open(b"/f", how).unwrap();
    (file, budget)
}

fn first(file: &Description, offset: u64) -> u8 {
    let mut byte = [9];
    file.read_at(offset, &mut byte).unwrap();
    byte[0]
}

#[test]
fn a_hole_below_the_size_is_not_free() {
    let (file, budget) = file();
    file.file().truncate(1 << 40).unwrap();
    let data = vec![1; 100 << 10];
    // Not aligned, so that the first and the last page are touched in part.
    assert_eq!(file.write_at(4 * KIB + 100, &data), Ok((64 << 10) - 100));
    assert_eq!(budget.bytes(), 64 * KIB);
    for offset in [0, 68 * KIB, 1 << 30] {
        assert_eq!(file.write_at(offset, &data), Err(Errno::ENOSPC));
        assert_eq!(first(&file, offset), 0);
    }
    assert_eq!(file.write_at(0, &vec![2; 8 << 10]), Err(Errno::ENOSPC));
    // What is there can be written again, up to the next hole.
    assert_eq!(file.write_at(8 * KIB, &data), Ok(60 << 10));
    assert_eq!(file.write_at(5 * KIB + 1, b"xyz"), Ok(3));
    assert_eq!(first(&file, 5 * KIB + 2), b'y');
    assert_eq!(budget.bytes(), 64 * KIB);
    assert_eq!(file.file().size(), Ok(1 << 40));
}

#[test]
fn the_end_of_a_full_file_may_be_written_but_not_moved_to_another_page() {
    let (file, budget) = file();
    file.write_at(0, &vec![1; (60 << 10) + 10]).unwrap();
    file.file().memory_file().unwrap();
    assert_eq!(budget.bytes(), 64 * KIB);
    assert_eq!(file.write_at(60 * KIB + 10, &vec![2; 8192]), Ok(4096 - 10));
    assert_eq!(file.file().size(), Ok(64 * KIB));
    assert_eq!(file.write_at(64 * KIB, b"x"), Err(Errno::ENOSPC));
    assert_eq!(file.file().size(), Ok(64 * KIB));
}

#[test]
fn a_reserved_page_can_be_written_when_nothing_is_left() {
    let (file, budget) = file();
    file.file().truncate(1 << 30).unwrap();
    file.file().allocate(0, 32 * KIB, 16 * KIB).unwrap();
    assert_eq!(file.write_at(1 << 20, &vec![1; 100 << 10]), Ok(48 << 10));
    assert_eq!(budget.bytes(), 64 * KIB);
    assert_eq!(file.write_at(28 * KIB, b"x"), Err(Errno::ENOSPC));
    assert_eq!(file.write_at(32 * KIB, &vec![3; 64 << 10]), Ok(16 << 10));
    assert_eq!(file.write_at(48 * KIB, b"x"), Err(Errno::ENOSPC));
    assert_eq!((first(&file, 40 * KIB), first(&file, 48 * KIB)), (3, 0));
    assert_eq!(budget.bytes(), 64 * KIB);
    // Space beyond the end is of no other kind.
    file.file().truncate(0).unwrap();
    let keep = FALLOC_FL_KEEP_SIZE;
    file.file().allocate(keep, 0, 64 * KIB).unwrap();
    file.file().memory_file().unwrap();
    assert_eq!(file.file().size(), Ok(0));
}

#[test]
fn pages_that_came_through_a_mapping_leave_less_to_write() {
    let (file, budget) = file();
    file.file().truncate(1 << 30).unwrap();
    // As the guest does through a mapping: nobody asks the budget.
    let host = file.file().memory_file().unwrap();
    host.write_all_at(&vec![7; 60 << 10], 1 << 20).unwrap();
    assert_eq!(budget.pages(), pages(60, 0, 60));
    assert_eq!(file.write_at(0, &vec![1; 100 << 10]), Ok(4 << 10));
    assert_eq!(budget.bytes(), 64 * KIB);
    assert_eq!(file.write_at(1 << 20, &vec![1; 100 << 10]), Ok(60 << 10));
    assert_eq!(budget.pages(), pages(64, 64, 0));
    // Beyond the limit it is nobody's but the guest's.
    host.write_all_at(&vec![7; 60 << 10], 2 << 20).unwrap();
    assert_eq!(budget.pages(), pages(124, 64, 60));
    assert_eq!(file.write_at(3 << 20, b"x"), Err(Errno::ENOSPC));
    assert_eq!(budget.pages(), pages(124, 64, 60));
    file.file().truncate(0).unwrap();
    assert_eq!(budget.pages(), pages(0, 0, 0));
}

fn pages(held: u64, paid: u64, unpaid: u64) -> BudgetPages {
    BudgetPages {
        held: held * KIB,
        paid: paid * KIB,
        unpaid: unpaid * KIB,
    }
}
