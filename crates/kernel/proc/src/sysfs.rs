//! `/sys` as far as runtimes read it (sysfs(5)).

use kernel_vfs::{Errno, FileType, Result};

use crate::synthetic::{Directory, Node, line, table, text};
use crate::{View, machine};

fn empty() -> Node {
    table(Vec::new())
}

pub(crate) fn root(view: &View) -> Node {
    let hugepages = table(vec![(
        "hugepages-2048kB",
        table(vec![
            ("free_hugepages", line("0")),
            ("nr_hugepages", line("0")),
            ("nr_overcommit_hugepages", line("0")),
            ("resv_hugepages", line("0")),
            ("surplus_hugepages", line("0")),
        ]),
    )]);
    let transparent = table(vec![
        ("defrag", line("always defer defer+madvise [madvise] never")),
        ("enabled", line("always [madvise] never")),
        ("hpage_pmd_size", line("2097152")),
        (
            "shmem_enabled",
            line("always within_size advise [never] deny force"),
        ),
        ("use_zero_page", line("1")),
    ]);
    table(vec![
        ("block", empty()),
        ("bus", empty()),
        (
            "class",
            table(vec![("net", table(vec![("lo", loopback())]))]),
        ),
        ("dev", table(vec![("block", empty()), ("char", empty())])),
        (
            "devices",
            table(vec![(
                "system",
                table(vec![
                    ("cpu", Node::directory(Cpus(view.clone()))),
                    ("node", nodes(view)),
                ]),
            )]),
        ),
        ("firmware", empty()),
        ("fs", table(vec![("cgroup", empty())])),
        (
            "kernel",
            table(vec![
                (
                    "mm",
                    table(vec![
                        ("hugepages", hugepages),
                        ("transparent_hugepage", transparent),
                    ]),
                ),
                ("security", empty()),
            ]),
        ),
        ("module", empty()),
    ])
}

fn loopback() -> Node {
    table(vec![
        ("addr_len", line("6")),
        ("address", line("00:00:00:00:00:00")),
        ("carrier", line("1")),
        ("flags", line("0x9")),
        ("ifindex", line("1")),
        ("mtu", line("65536")),
        ("operstate", line("unknown")),
        ("type", line("772")),
    ])
}

fn count(view: &View) -> Result<u32> {
    Ok(view.source()?.kernel().config.cpus.max(1))
}

/// `0-3`, or `0` alone.
pub(crate) fn cpu_list(view: &View) -> Result<String> {
    Ok(match count(view)? {
        1 => String::from("0\n"),
        n => format!("0-{}\n", n - 1),
    })
}

/// A mask of `bits` processors in groups of 32, the highest first.
fn mask(bits: u32) -> String {
    let groups = bits.div_ceil(32);
    let group = |at: u32| {
        let left = bits - at * 32;
        let value = if left >= 32 {
            u32::MAX
        } else {
            (1 << left) - 1
        };
        format!("{value:08x}")
    };
    (0..groups).rev().map(group).collect::<Vec<_>>().join(",")
}

fn nodes(view: &View) -> Node {
    let (list, map, memory) = (view.clone(), view.clone(), view.clone());
    table(vec![
        ("has_cpu", line("0")),
        ("has_memory", line("0")),
        ("has_normal_memory", line("0")),
        (
            "node0",
            table(vec![
                ("cpulist", text(move || cpu_list(&list))),
                (
                    "cpumap",
                    text(move || Ok(format!("{}\n", mask(count(&map)?)))),
                ),
                ("distance", line("10")),
                (
                    "meminfo",
                    text(move || {
                        let (total, used) = machine::memory(memory.source()?.as_ref());
                        let free = total - used;
                        Ok(format!(
                            "Node 0 MemTotal:       {total} kB\nNode 0 MemFree:        {free} kB\nNode 0 MemUsed:        {used} kB\n"
                        ))
                    }),
                ),
            ]),
        ),
        ("online", line("0")),
        ("possible", line("0")),
    ])
}

/// `/sys/devices/system/cpu`.
struct Cpus(View);

const LISTS: [&str; 3] = ["online", "possible", "present"];
const FIXED: [(&str, &str); 4] = [
    ("isolated", ""),
    ("kernel_max", "8191"),
    ("nohz_full", ""),
    ("offline", ""),
];

impl Directory for Cpus {
    fn lookup(&self, name: &[u8]) -> Result<Node> {
        let name = std::str::from_utf8(name).map_err(|_| Errno::ENOENT)?;
        if LISTS.contains(&name) {
            let view = self.0.clone();
            return Ok(text(move || cpu_list(&view)));
        }
        if let Some((_, text)) = FIXED.iter().find(|(n, _)| *n == name) {
            return Ok(line(*text));
        }
        let number: u32 = name
            .strip_prefix("cpu")
            .and_then(|n| n.parse().ok())
            .ok_or(Errno::ENOENT)?;
        if number >= count(&self.0)? || format!("cpu{number}") != name {
            return Err(Errno::ENOENT);
        }
        Ok(cpu(&self.0, number))
    }

    fn list(&self, emit: &mut dyn FnMut(&[u8], FileType)) -> Result<()> {
        for number in 0..count(&self.0)? {
            emit(format!("cpu{number}").as_bytes(), FileType::Directory);
        }
        let fixed = FIXED.iter().map(|(name, _)| *name);
        fixed
            .chain(LISTS)
            .for_each(|name| emit(name.as_bytes(), FileType::Regular));
        Ok(())
    }

    fn links(&self) -> u64 {
        2 + count(&self.0).map_or(0, u64::from)
    }
}

fn cpu(view: &View, number: u32) -> Node {
    let (siblings, package) = (view.clone(), view.clone());
    let cache = |level: &'static str, kind: &'static str, size: &'static str| {
        table(vec![
            ("coherency_line_size", line("64")),
            ("level", line(level)),
            ("shared_cpu_list", line(number.to_string())),
            ("size", line(size)),
            ("type", line(kind)),
        ])
    };
    let own = format!("{:08x}", 1u32.checked_shl(number).unwrap_or(0));
    table(vec![
        (
            "cache",
            table(vec![
                ("index0", cache("1", "Data", "32K")),
                ("index1", cache("1", "Instruction", "32K")),
                ("index2", cache("2", "Unified", "2048K")),
                ("index3", cache("3", "Unified", "32768K")),
            ]),
        ),
        ("online", line("1")),
        (
            "topology",
            table(vec![
                ("core_cpus", line(own.clone())),
                ("core_cpus_list", line(number.to_string())),
                ("core_id", line(number.to_string())),
                (
                    "core_siblings",
                    text(move || Ok(format!("{}\n", mask(count(&siblings)?)))),
                ),
                ("core_siblings_list", text(move || cpu_list(&package))),
                ("die_id", line("0")),
                ("physical_package_id", line("0")),
                ("thread_siblings", line(own)),
                ("thread_siblings_list", line(number.to_string())),
            ]),
        ),
    ])
}

#[cfg(test)]
mod tests {
    use super::mask;

    #[test]
    fn masks_are_grouped() {
        assert_eq!(mask(1), "00000001");
        assert_eq!(mask(32), "ffffffff");
        assert_eq!(mask(34), "00000003,ffffffff");
    }
}
