//! Programs loaded into an address space made of pages in this process.

#[path = "../../mm/tests/fake/mod.rs"]
mod fake;

use std::collections::HashMap;
use std::fs::File as HostFile;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use base_abi::Errno;
use fake::{FakeSpace, features};
use kernel_loader::{ExecIdentity, ExecRequest, Loaded, Program, load};
use kernel_mm::{Mm, MmLimits};
use kernel_vfs::{AccessMode, Description, File, Result, StatusFlags, UserMemory};
use proptest::prelude::*;

/// A host file as a guest file.
struct TestFile(Arc<HostFile>);

impl File for TestFile {
    fn seekable(&self) -> bool {
        true
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        Ok(self.0.read_at(buf, offset)?)
    }

    fn memory_file(&self) -> Result<Arc<HostFile>> {
        Ok(Arc::clone(&self.0))
    }
}

fn program(path: &str, host: HostFile) -> Program {
    let file: Arc<dyn File> = Arc::new(TestFile(Arc::new(host)));
    Program {
        description: Description::anonymous(file, AccessMode::Read, StatusFlags::empty()),
        path: Arc::from(path),
    }
}

fn in_memory(path: &str, bytes: &[u8]) -> Program {
    let host = host_sys::memory_file::create("program", 0).expect("memory");
    host.write_all_at(bytes, 0).expect("write");
    program(path, host)
}

#[derive(Default)]
struct Disk(HashMap<Vec<u8>, Program>);

impl Disk {
    fn with(mut self, path: &str, bytes: &[u8]) -> Disk {
        let file = in_memory(path, bytes);
        self.0.insert(path.as_bytes().to_vec(), file);
        self
    }

    fn open(&self, path: &[u8]) -> Result<Program> {
        self.0.get(path).cloned().ok_or(Errno::ENOENT)
    }

    fn exec(&self, path: &str, argv: &[&str], envp: &[&str]) -> (Mm, Result<Loaded>) {
        let limits = MmLimits {
            aslr_seed: 7,
            ..MmLimits::default()
        };
        let space = Arc::new(FakeSpace::default());
        let mm = Mm::new(space, &features(65_536, 0x7fff_ffff_f000), limits);
        let owned = |list: &[&str]| list.iter().map(|s| s.as_bytes().to_vec()).collect();
        let request = ExecRequest {
            program: match self.open(path.as_bytes()) {
                Ok(program) => program,
                Err(errno) => return (mm, Err(errno)),
            },
            name: path.as_bytes(),
            argv: owned(argv),
            envp: owned(envp),
            identity: &|_| {
                Ok(ExecIdentity {
                    uid: 1000,
                    euid: 1000,
                    gid: 100,
                    egid: 100,
                    secure: false,
                })
            },
            random: [9; 16],
            cpu: kernel_loader::CpuWords::default(),
            vdso: None,
        };
        let loaded = load(&mm, &|path| self.open(path), request);
        (mm, loaded)
    }
}

/// An ELF file with program headers given as (type, flags, offset, vaddr, file length, memory length, align).
fn elf(kind: u16, entry: u64, headers: &[[u64; 7]], len: usize) -> Vec<u8> {
    let mut image = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    image.extend(kind.to_le_bytes());
    image.extend(62u16.to_le_bytes());
    image.extend(1u32.to_le_bytes());
    for word in [entry, 64, 0] {
        image.extend(word.to_le_bytes());
    }
    image.extend(0u32.to_le_bytes());
    let count = u16::try_from(headers.len()).expect("few");
    for half in [64u16, 56, count, 0, 0, 0] {
        image.extend(half.to_le_bytes());
    }
    for [kind, flags, offset, vaddr, file, memory, align] in headers {
        image.extend(u32::try_from(*kind).expect("type").to_le_bytes());
        image.extend(u32::try_from(*flags).expect("flags").to_le_bytes());
        for word in [offset, vaddr, vaddr, file, memory, align] {
            image.extend(word.to_le_bytes());
        }
    }
    image.resize(len.max(image.len()), 0xcc);
    image
}

const EXEC: u16 = 2;
const DYN: u16 = 3;

fn fixed_program() -> Vec<u8> {
    let code = [1, 5, 0, 0x40_0000, 0x900, 0x900, 0x1000];
    let data = [1, 6, 0xa00, 0x40_1a00, 0x100, 0x3000, 0x1000];
    elf(EXEC, 0x40_0100, &[code, data], 0xb00)
}

fn word(mm: &Mm, at: u64) -> u64 {
    mm.read_obj(at).expect("readable")
}

/// Arguments, environment and auxiliary vector as the program would find them.
fn stack(mm: &Mm, sp: u64) -> (Vec<String>, Vec<String>, Vec<(u64, u64)>) {
    let mut at = sp + 8;
    let mut list = || {
        let mut texts = Vec::new();
        loop {
            let pointer = word(mm, at);
            at += 8;
            if pointer == 0 {
                return texts;
            }
            let text = mm.read_cstr(pointer, 4096).expect("a string");
            texts.push(String::from_utf8(text).expect("text"));
        }
    };
    let (argv, envp) = (list(), list());
    assert_eq!(word(mm, sp), argv.len() as u64);
    let mut auxv = Vec::new();
    loop {
        let entry = (word(mm, at), word(mm, at + 8));
        at += 16;
        if entry.0 == 0 {
            return (argv, envp, auxv);
        }
        auxv.push(entry);
    }
}

#[test]
fn a_fixed_program_is_mapped_cleared_and_given_its_stack() {
    let disk = Disk::default().with("/bin/fixed", &fixed_program());
    let (mm, loaded) = disk.exec("/bin/fixed", &["fixed", "-x"], &["A=1", "B="]);
    let loaded = loaded.expect("loads");
    assert_eq!(loaded.rip, 0x40_0100);
    assert_eq!(loaded.rsp % 16, 0);
    assert_eq!(loaded.comm, b"fixed");
    let (argv, envp, auxv) = stack(&mm, loaded.rsp);
    assert_eq!(argv, ["fixed", "-x"]);
    assert_eq!(envp, ["A=1", "B="]);
    let keys: Vec<u64> = auxv.iter().map(|e| e.0).collect();
    // MINSIGSTKSZ HWCAP PAGESZ CLKTCK PHDR PHENT PHNUM BASE FLAGS ENTRY UID EUID GID EGID SECURE
    // RANDOM HWCAP2 EXECFN PLATFORM, as Linux orders them.
    let order = [
        51, 16, 6, 17, 3, 4, 5, 7, 8, 9, 11, 12, 13, 14, 23, 25, 26, 31, 15,
    ];
    assert_eq!(keys, order);
    let value = |key| auxv.iter().find(|e| e.0 == key).expect("there").1;
    assert_eq!(value(3), 0x40_0040);
    assert_eq!((value(5), value(9), value(7)), (2, 0x40_0100, 0));
    assert_eq!((value(11), value(14)), (1000, 100));
    assert_eq!(word(&mm, value(25)), 0x0909_0909_0909_0909);
    assert_eq!(mm.read_cstr(value(31), 100).expect("name"), b"/bin/fixed");
    assert_eq!(mm.read_cstr(value(15), 100).expect("name"), b"x86_64");
    // File bytes to the end of the segment, zeros behind, also on whole pages.
    let mut edge = [1u8; 2];
    mm.read_bytes(0x40_1aff, &mut edge).expect("data");
    assert_eq!(edge, [0xcc, 0]);
    assert_eq!(word(&mm, 0x40_4900), 0);
    let layout = mm.exec_layout();
    assert!(layout.start_brk >= 0x40_5000);
    assert_eq!(mm.brk(0), layout.start_brk);
    assert_eq!(mm.brk(layout.start_brk + 10), layout.start_brk + 10);
    let maps = mm.maps_text();
    assert!(
        maps.starts_with("00400000-00401000 r-xp 00000000 00:00 0 "),
        "{maps}"
    );
    assert!(
        maps.contains(" /bin/fixed\n") && maps.contains("[heap]\n"),
        "{maps}"
    );
    assert!(maps.contains("[stack]\n"), "{maps}");
}

#[test]
fn position_independent_programs_keep_their_alignment_and_move_with_the_seed() {
    const ALIGN: u64 = 0x20_0000;
    let interp = [3, 4, 0x200, 0x20_0200, 8, 8, 1];
    let code = [1, 5, 0, ALIGN, 0x900, 0x900, ALIGN];
    let mut image = elf(DYN, ALIGN + 0x100, &[interp, code], 0xb00);
    image[0x200..0x208].copy_from_slice(b"/lib/ld\0");
    let linker = elf(DYN, 0x80, &[[1, 5, 0, 0, 0x300, 0x300, 0x1000]], 0x300);
    let disk = Disk::default().with("/a", &image).with("/lib/ld", &linker);
    let (mm, loaded) = disk.exec("/a", &["a"], &[]);
    let loaded = loaded.expect("loads");
    let (_, _, auxv) = stack(&mm, loaded.rsp);
    let value = |key| auxv.iter().find(|e| e.0 == key).expect("there").1;
    assert_eq!((value(9) - 0x100) % ALIGN, 0);
    assert_eq!(loaded.rip, value(7) + 0x80);
    assert_eq!(
        mm.vma_at(loaded.rip)
            .expect("mapped")
            .file()
            .expect("file")
            .name
            .as_ref(),
        "/lib/ld"
    );
    let (_, again) = disk.exec("/a", &["a"], &[]);
    let again = again.expect("loads");
    assert_eq!(
        (again.rip, again.rsp),
        (loaded.rip, loaded.rsp),
        "same seed, same place"
    );
}

#[test]
fn scripts_put_their_interpreter_in_front() {
    let disk = Disk::default()
        .with("/bin/fixed", &fixed_program())
        .with("/s", b"#!/bin/fixed -a b\nrest")
        .with("/t", b"#! /s\n");
    let (mm, loaded) = disk.exec("/s", &["x", "y"], &[]);
    let loaded = loaded.expect("loads");
    assert_eq!(stack(&mm, loaded.rsp).0, ["/bin/fixed", "-a b", "/s", "y"]);
    assert_eq!(loaded.comm, b"s");
    let (mm, loaded) = disk.exec("/t", &[], &[]);
    let argv = stack(&mm, loaded.expect("loads").rsp).0;
    assert_eq!(argv, ["/bin/fixed", "-a b", "/s", "/t"]);
}

#[test]
fn bad_images_are_refused_as_linux_refuses_them() {
    let disk = Disk::default()
        .with("/loop", b"#!/loop\n")
        .with("/text", b"echo hello\n")
        .with("/empty", b"")
        .with("/missing", b"#!/nowhere\n")
        .with("/short", &fixed_program()[..80])
        .with("/bad-ld", &{
            let interp = [3, 4, 0x200, 0x40_0200, 6, 6, 1];
            let code = [1, 5, 0, 0x40_0000, 0x900, 0x900, 0x1000];
            let mut image = elf(EXEC, 0x40_0100, &[interp, code], 0xb00);
            image[0x200..0x206].copy_from_slice(b"/text\0");
            image
        })
        .with(
            "/low",
            &elf(EXEC, 0, &[[1, 5, 0, 0, 64, 64, 0x1000]], 0x100),
        );
    for (path, errno) in [
        ("/loop", Errno::ELOOP),
        ("/text", Errno::ENOEXEC),
        ("/empty", Errno::ENOEXEC),
        ("/missing", Errno::ENOENT),
        ("/short", Errno::ENOEXEC),
        ("/bad-ld", Errno::ELIBBAD),
        ("/low", Errno::ENOMEM),
    ] {
        assert_eq!(disk.exec(path, &["x"], &[]).1.err(), Some(errno), "{path}");
    }
}

#[test]
fn arguments_are_limited_one_by_one_and_in_all() {
    let disk = Disk::default().with("/bin/fixed", &fixed_program());
    let exec = |args: &[&str]| disk.exec("/bin/fixed", args, &[]).1.map(|l| l.rsp % 16);
    let long = "x".repeat((128 << 10) - 1);
    assert_eq!(exec(&[&long]), Ok(0));
    assert_eq!(exec(&[&format!("{long}x")]), Err(Errno::E2BIG));
    let most: Vec<&str> = vec![&long; 15];
    assert_eq!(exec(&most), Ok(0));
    let many: Vec<&str> = vec![&long; 16];
    assert_eq!(exec(&many), Err(Errno::E2BIG));
}

#[test]
fn this_very_test_program_loads() {
    let own = HostFile::open("/proc/self/exe").expect("own program");
    let mut disk = Disk::default();
    disk.0.insert(b"/test".to_vec(), program("/test", own));
    for path in ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-musl-x86_64.so.1"] {
        if let Ok(host) = HostFile::open(path) {
            disk.0.insert(path.into(), program(path, host));
        }
    }
    let (mm, loaded) = disk.exec("/test", &["test"], &["HOME=/"]);
    let loaded = loaded.expect("loads");
    assert!(mm.vma_at(loaded.rip).is_some_and(|v| v.prot.bits() == 5));
    assert_eq!(stack(&mm, loaded.rsp).1, ["HOME=/"]);
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600), magic: bool) {
        let mut bytes = bytes;
        if magic && bytes.len() > 20 {
            bytes[..20].copy_from_slice(&fixed_program()[..20]);
        }
        let disk = Disk::default().with("/x", &bytes);
        let _ = disk.exec("/x", &["x"], &[]);
    }

    #[test]
    fn mutated_images_never_panic(
        changes in prop::collection::vec((0..240usize, any::<u8>()), 1..6),
        words in prop::collection::vec((0..30usize, prop_oneof![
            Just(u64::MAX), Just(1 << 63), Just(1 << 47), Just(0), any::<u64>(),
        ]), 0..3),
        dynamic: bool,
    ) {
        let mut image = fixed_program();
        if dynamic {
            image[16] = 3;
        }
        for (at, value) in changes {
            image[at] = value;
        }
        for (at, value) in words {
            image[at * 8..at * 8 + 8].copy_from_slice(&value.to_le_bytes());
        }
        // Whatever is still called a small image; the fake holds every page in a map.
        let disk = Disk::default().with("/x", &image);
        let _ = disk.exec("/x", &["x"], &[]);
    }
}
