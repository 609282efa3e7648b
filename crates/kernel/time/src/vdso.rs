//! The vDSO image: a shared object built around the clock code (vdso(7), elf(5)).
//!
//! It is as small as dynamic linkers accept: one loadable segment, a dynamic section, both hash
//! tables, one symbol version. There are no sections.

use host_sys::vdso_code::{self, DATA_DISTANCE, HEAD_LEN};

/// Bytes of the data page before the image.
pub const DATA_LEN: usize = DATA_DISTANCE - HEAD_LEN;

const SONAME: &str = "linux-vdso.so.1";
const VERSION: &str = "LINUX_2.6";
const PAGE: usize = 4096;

/// A name at an address.
struct Symbol {
    name: String,
    address: u64,
    weak: bool,
}

/// Builds the image; its length is a page multiple.
#[must_use]
pub fn image() -> Vec<u8> {
    let symbols = symbols();
    let mut strings = Strings::default();
    let names: Vec<u32> = symbols.iter().map(|s| strings.add(&s.name)).collect();
    let (soname, version) = (strings.add(SONAME), strings.add(VERSION));

    let mut image = Writer(vec![0; 64 + 2 * 56]);
    let symtab = image.section(&symbol_table(&symbols, &names));
    let strtab = image.section(&strings.0);
    let hash = image.section(&sysv_hash(&symbols));
    let gnu_hash = image.section(&gnu_hash(&symbols));
    let versym = image.section(&version_indexes(symbols.len()));
    let verdef = image.section(&version_definitions(soname, version));
    let entries: [(u64, u64); 11] = [
        (14, u64::from(soname)),      // DT_SONAME
        (4, hash),                    // DT_HASH
        (0x6fff_fef5, gnu_hash),      // DT_GNU_HASH
        (5, strtab),                  // DT_STRTAB
        (6, symtab),                  // DT_SYMTAB
        (10, strings.0.len() as u64), // DT_STRSZ
        (11, 24),                     // DT_SYMENT
        (0x6fff_fff0, versym),        // DT_VERSYM
        (0x6fff_fffc, verdef),        // DT_VERDEF
        (0x6fff_fffd, 2),             // DT_VERDEFNUM
        (0, 0),                       // DT_NULL
    ];
    let mut dynamic = Writer(Vec::new());
    for (tag, value) in entries {
        dynamic.u64(tag).u64(value);
    }
    let dynamic_at = image.section(&dynamic.0);
    assert!(image.0.len() <= HEAD_LEN, "the head fits before the code");
    image.0.resize(HEAD_LEN, 0);
    image.0.extend_from_slice(vdso_code::bytes());
    let len = image.0.len();
    image.0.resize(len.next_multiple_of(PAGE), 0);
    let head = headers(len as u64, dynamic_at, dynamic.0.len() as u64);
    image.0[..head.len()].copy_from_slice(&head);
    image.0
}

fn symbols() -> Vec<Symbol> {
    let mut symbols = Vec::new();
    for function in vdso_code::functions() {
        let address = (HEAD_LEN + function.offset) as u64;
        for (prefix, weak) in [("__vdso_", false), ("", true)] {
            symbols.push(Symbol {
                name: format!("{prefix}{}", function.name),
                address,
                weak,
            });
        }
    }
    symbols
}

fn headers(len: u64, dynamic: u64, dynamic_len: u64) -> Vec<u8> {
    let mut w = Writer(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec());
    // ET_DYN, EM_X86_64; program headers follow at 64.
    w.u16(3).u16(62).u32(1).u64(HEAD_LEN as u64).u64(64).u64(0);
    w.u32(0).u16(64).u16(56).u16(2).u16(0).u16(0).u16(0);
    // PT_LOAD, readable and executable.
    w.u32(1)
        .u32(5)
        .u64(0)
        .u64(0)
        .u64(0)
        .u64(len)
        .u64(len)
        .u64(PAGE as u64);
    // PT_DYNAMIC, readable.
    w.u32(2).u32(4).u64(dynamic).u64(dynamic).u64(dynamic);
    w.u64(dynamic_len).u64(dynamic_len).u64(8);
    w.0
}

fn symbol_table(symbols: &[Symbol], names: &[u32]) -> Vec<u8> {
    const FUNCTION: u8 = 2;
    let mut w = Writer(vec![0; 24]);
    for (symbol, &name) in symbols.iter().zip(names) {
        let bind: u8 = if symbol.weak { 2 } else { 1 };
        w.u32(name);
        // Default visibility; defined in "section 1", which nobody looks at but as "not undefined".
        w.0.extend([bind << 4 | FUNCTION, 0]);
        w.u16(1).u64(symbol.address).u64(32);
    }
    w.0
}

/// `DT_HASH` with a single bucket.
fn sysv_hash(symbols: &[Symbol]) -> Vec<u8> {
    let count = symbols.len() as u32;
    let mut w = Writer(Vec::new());
    w.u32(1).u32(count + 1).u32(1).u32(0);
    for next in 2..=count {
        w.u32(next);
    }
    w.u32(0);
    w.0
}

/// `DT_GNU_HASH` with a single bucket and a filter that lets everything pass.
fn gnu_hash(symbols: &[Symbol]) -> Vec<u8> {
    let mut w = Writer(Vec::new());
    w.u32(1).u32(1).u32(1).u32(0).u64(u64::MAX).u32(1);
    for (at, symbol) in symbols.iter().enumerate() {
        let last = u32::from(at + 1 == symbols.len());
        w.u32(gnu_hash_of(&symbol.name) & !1 | last);
    }
    w.0
}

fn gnu_hash_of(name: &str) -> u32 {
    name.bytes().fold(5381, |h: u32, b| {
        h.wrapping_mul(33).wrapping_add(u32::from(b))
    })
}

fn sysv_hash_of(name: &str) -> u32 {
    name.bytes().fold(0, |h: u32, b| {
        let h = (h << 4).wrapping_add(u32::from(b));
        let top = h & 0xf000_0000;
        (h ^ (top >> 24)) & !top
    })
}

/// Every symbol has version 2, [`VERSION`].
fn version_indexes(symbols: usize) -> Vec<u8> {
    let mut w = Writer(Vec::new());
    w.u16(0);
    for _ in 0..symbols {
        w.u16(2);
    }
    w.0
}

/// The file itself as version 1, [`VERSION`] as version 2.
fn version_definitions(soname: u32, version: u32) -> Vec<u8> {
    let mut w = Writer(Vec::new());
    let mut define = |flags, index, text: &str, name, next| {
        w.u16(1).u16(flags).u16(index).u16(1);
        w.u32(sysv_hash_of(text)).u32(20).u32(next).u32(name).u32(0);
    };
    define(1, 1, SONAME, soname, 28);
    define(0, 2, VERSION, version, 0);
    w.0
}

/// A string table; offset 0 is the empty string.
struct Strings(Vec<u8>);

impl Default for Strings {
    fn default() -> Strings {
        Strings(vec![0])
    }
}

impl Strings {
    fn add(&mut self, text: &str) -> u32 {
        let at = self.0.len() as u32;
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
        at
    }
}

/// Little-endian bytes in a row.
struct Writer(Vec<u8>);

impl Writer {
    fn u16(&mut self, value: u16) -> &mut Writer {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn u32(&mut self, value: u32) -> &mut Writer {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn u64(&mut self, value: u64) -> &mut Writer {
        self.0.extend(value.to_le_bytes());
        self
    }

    /// Appends a block at a multiple of eight and returns where.
    fn section(&mut self, bytes: &[u8]) -> u64 {
        let at = self.0.len().next_multiple_of(8);
        self.0.resize(at, 0);
        self.0.extend_from_slice(bytes);
        at as u64
    }
}
