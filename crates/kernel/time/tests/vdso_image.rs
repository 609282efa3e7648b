//! The vDSO as a dynamic linker sees it.

use std::collections::BTreeMap;

const FUNCTIONS: [&str; 5] = [
    "clock_gettime",
    "gettimeofday",
    "time",
    "clock_getres",
    "getcpu",
];

struct Image(Vec<u8>);

impl Image {
    fn bytes<const N: usize>(&self, at: u64) -> [u8; N] {
        let at = usize::try_from(at).expect("offset");
        self.0[at..at + N].try_into().expect("in the image")
    }

    fn u16(&self, at: u64) -> u16 {
        u16::from_le_bytes(self.bytes(at))
    }

    fn u32(&self, at: u64) -> u32 {
        u32::from_le_bytes(self.bytes(at))
    }

    fn u64(&self, at: u64) -> u64 {
        u64::from_le_bytes(self.bytes(at))
    }

    fn text(&self, at: u64) -> &str {
        let bytes = &self.0[usize::try_from(at).expect("offset")..];
        let end = bytes.iter().position(|&b| b == 0).expect("terminated");
        std::str::from_utf8(&bytes[..end]).expect("text")
    }

    /// Program headers as (type, flags, vaddr, memory length).
    fn segments(&self) -> Vec<(u32, u32, u64, u64)> {
        let table = self.u64(32);
        (0..u64::from(self.u16(56)))
            .map(|i| table + 56 * i)
            .map(|at| {
                (
                    self.u32(at),
                    self.u32(at + 4),
                    self.u64(at + 16),
                    self.u64(at + 40),
                )
            })
            .collect()
    }

    /// Values of the dynamic section by tag.
    fn dynamic(&self) -> BTreeMap<u64, u64> {
        let at = self
            .segments()
            .iter()
            .find(|s| s.0 == 2)
            .expect("PT_DYNAMIC")
            .2;
        (0..)
            .map(|i| (self.u64(at + 16 * i), self.u64(at + 16 * i + 8)))
            .take_while(|(tag, _)| *tag != 0)
            .collect()
    }
}

fn image() -> Image {
    Image(kernel_time::vdso::image())
}

#[test]
fn every_function_is_found_by_name_through_both_tables() {
    let image = image();
    let tags = image.dynamic();
    let (strtab, symtab, hash, gnu) = (tags[&5], tags[&6], tags[&4], tags[&0x6fff_fef5]);
    assert_eq!(image.text(strtab + tags[&14]), "linux-vdso.so.1");
    let symbol = |index: u32| symtab + 24 * u64::from(index);
    let name = |index| image.text(strtab + u64::from(image.u32(symbol(index))));
    let word = |i: u32| image.u32(hash + 4 * u64::from(i));
    let (buckets, count) = (word(0), word(1));
    let lookup = |wanted: &str| {
        let mut index = word(2 + object::elf::hash(wanted.as_bytes()) % buckets);
        while index != 0 && name(index) != wanted {
            index = word(2 + buckets + index);
        }
        (index != 0).then_some(index)
    };
    for function in FUNCTIONS {
        let strong = lookup(&format!("__vdso_{function}")).expect("strong name");
        let weak = lookup(function).expect("weak name");
        let value = |index| image.u64(symbol(index) + 8);
        assert_eq!(value(strong), value(weak));
        for (index, bind) in [(strong, 1), (weak, 2)] {
            let info: [u8; 2] = image.bytes(symbol(index) + 4);
            assert_eq!(info, [bind << 4 | 2, 0], "a visible function");
            assert_ne!(image.u16(symbol(index) + 6), 0, "defined");
            assert!(value(index) < image.0.len() as u64);
            assert_eq!(image.u16(tags[&0x6fff_fff0] + 2 * u64::from(index)), 2);
            // One bucket from symbol 1 on: header 16, filter 8, bucket 4, then the chain.
            let chain = image.u32(gnu + 28 + 4 * u64::from(index - 1));
            assert_eq!(chain | 1, object::elf::gnu_hash(name(index).as_bytes()) | 1);
            assert_eq!(
                chain & 1 == 1,
                index + 1 == count,
                "the last ends the chain"
            );
        }
    }
    assert_eq!(lookup("clock_settime"), None);
}

#[test]
fn the_version_is_the_one_that_c_libraries_ask_for() {
    let image = image();
    let tags = image.dynamic();
    let first = tags[&0x6fff_fffc];
    assert_eq!(image.u16(first + 2), 1, "VER_FLG_BASE");
    let second = first + u64::from(image.u32(first + 16));
    assert_eq!(image.u16(second + 4), 2);
    assert_eq!(image.u32(second + 8), object::elf::hash(b"LINUX_2.6"));
    let aux = second + u64::from(image.u32(second + 12));
    let name = tags[&5] + u64::from(image.u32(aux));
    assert_eq!(image.text(name), "LINUX_2.6");
}

#[test]
fn the_image_is_one_page_with_one_loadable_segment() {
    let image = image();
    assert_eq!(image.0.len(), 4096);
    let loads: Vec<_> = image.segments().into_iter().filter(|s| s.0 == 1).collect();
    let [(_, 5, 0, 2048..=4096)] = loads[..] else {
        panic!("{loads:?}");
    };
}
