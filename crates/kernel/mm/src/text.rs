//! `/proc/<pid>/maps` and `smaps` (proc_pid_maps(5)).

use std::fmt::Write;

use base_abi::page::page_ceil;
use platform_api::Protection;

use crate::count;
use crate::mm::{Mm, State};
use crate::vma::{Vma, VmaBacking, VmaFlags};

/// Column of the name in a line of `maps`.
const NAME_COLUMN: usize = 73;

impl Mm {
    /// The text of `/proc/<pid>/maps`.
    #[must_use]
    pub fn maps_text(&self) -> String {
        let state = self.lock();
        let mut text = String::with_capacity(state.tree.count() * 100);
        for vma in state.tree.iter() {
            push_line(&mut text, &state, vma);
        }
        text
    }

    /// The text of `/proc/<pid>/smaps`. Residency by mapping is not known: writable private memory
    /// counts as wholly resident up to what there is in all, shared memory up to what its file has.
    #[must_use]
    pub fn smaps_text(&self) -> String {
        let state = self.lock();
        let mut left = self.private(&state) / 1024;
        let mut text = String::with_capacity(state.tree.count() * 800);
        for vma in state.tree.iter() {
            push_line(&mut text, &state, vma);
            let size = vma.len() / 1024;
            let own = if vma.is_data() { size.min(left) } else { 0 };
            left -= own;
            let resident = count::shared_bytes(vma).map_or(own, |shared| shared / 1024);
            push_sizes(&mut text, vma, size, resident);
        }
        text
    }
}

fn push_line(text: &mut String, state: &State, vma: &Vma) {
    let begin = text.len();
    let bit = |what, letter| if vma.prot.contains(what) { letter } else { '-' };
    let (offset, dev, ino) = match &vma.backing {
        VmaBacking::Anonymous => (0, 0, 0),
        VmaBacking::File { file, offset, .. } => (*offset, file.dev, file.ino),
    };
    let _ = write!(
        text,
        "{:08x}-{:08x} {}{}{}{} {:08x} {:02x}:{:02x} {} ",
        vma.start,
        vma.end,
        bit(Protection::READ, 'r'),
        bit(Protection::WRITE, 'w'),
        bit(Protection::EXEC, 'x'),
        if vma.shared() && !vma.flags.contains(VmaFlags::SPECIAL) {
            's'
        } else {
            'p'
        },
        if vma.flags.contains(VmaFlags::SPECIAL) {
            0
        } else {
            offset
        },
        major(dev),
        minor(dev),
        ino,
    );
    let name = name(state, vma);
    if !name.is_empty() {
        while text.len() - begin < NAME_COLUMN {
            text.push(' ');
        }
        text.push_str(&name.replace('\n', "\\012"));
    }
    text.push('\n');
}

fn name(state: &State, vma: &Vma) -> String {
    if let Some(file) = vma.file() {
        return file.name.to_string();
    }
    let exec = &state.exec;
    let heap_end = page_ceil(state.brk).unwrap_or(state.brk);
    if vma.start < heap_end && vma.end > exec.start_brk {
        return String::from("[heap]");
    }
    if (vma.start..vma.end).contains(&exec.start_stack) {
        return String::from("[stack]");
    }
    vma.anon_name
        .as_ref()
        .map_or_else(String::new, |name| format!("[anon:{name}]"))
}

/// `major(3)`.
fn major(dev: u64) -> u64 {
    ((dev >> 8) & 0xfff) | ((dev >> 32) & !0xfff)
}

/// `minor(3)`.
fn minor(dev: u64) -> u64 {
    (dev & 0xff) | ((dev >> 12) & !0xff)
}

fn push_sizes(text: &mut String, vma: &Vma, size: u64, resident: u64) {
    let anonymous = if vma.anonymous() { resident } else { 0 };
    let locked = if vma.flags.contains(VmaFlags::LOCKED) {
        resident
    } else {
        0
    };
    let lines: [(&str, u64); 22] = [
        ("Size", size),
        ("KernelPageSize", 4),
        ("MMUPageSize", 4),
        ("Rss", resident),
        ("Pss", resident),
        ("Pss_Dirty", resident),
        ("Shared_Clean", 0),
        ("Shared_Dirty", 0),
        ("Private_Clean", 0),
        ("Private_Dirty", resident),
        ("Referenced", resident),
        ("Anonymous", anonymous),
        ("KSM", 0),
        ("LazyFree", 0),
        ("AnonHugePages", 0),
        ("ShmemPmdMapped", 0),
        ("FilePmdMapped", 0),
        ("Shared_Hugetlb", 0),
        ("Private_Hugetlb", 0),
        ("Swap", 0),
        ("SwapPss", 0),
        ("Locked", locked),
    ];
    for (name, kib) in lines {
        let _ = writeln!(text, "{:<16}{kib:>8} kB", format!("{name}:"));
    }
    text.push_str("THPeligible:           0\n");
    let _ = writeln!(text, "VmFlags:{}", vm_flags(vma));
}

/// The two-letter codes of proc_pid_smaps(5).
fn vm_flags(vma: &Vma) -> String {
    let shared = vma.shared() && !vma.flags.contains(VmaFlags::SPECIAL);
    let codes = [
        ("rd", vma.prot.contains(Protection::READ)),
        ("wr", vma.prot.contains(Protection::WRITE)),
        ("ex", vma.prot.contains(Protection::EXEC)),
        ("sh", shared),
        ("mr", vma.max_prot.contains(Protection::READ)),
        ("mw", vma.max_prot.contains(Protection::WRITE)),
        ("me", vma.max_prot.contains(Protection::EXEC)),
        ("ms", shared),
        ("gd", vma.flags.contains(VmaFlags::STACK)),
        ("lo", vma.flags.contains(VmaFlags::LOCKED)),
        ("dc", vma.flags.contains(VmaFlags::DONTFORK)),
        ("de", vma.flags.contains(VmaFlags::SPECIAL)),
        ("ac", vma.flags.contains(VmaFlags::ACCOUNTED)),
        ("nr", vma.flags.contains(VmaFlags::NORESERVE)),
        ("wf", vma.flags.contains(VmaFlags::WIPEONFORK)),
        ("dd", vma.flags.contains(VmaFlags::DONTDUMP)),
        ("hg", vma.flags.contains(VmaFlags::HUGEPAGE)),
        ("nh", vma.flags.contains(VmaFlags::NOHUGEPAGE)),
    ];
    let mut text = String::new();
    for (code, _) in codes.iter().filter(|(_, on)| *on) {
        text.push(' ');
        text.push_str(code);
    }
    text
}
