//! What the processor offers: a guest that found out about an instruction will use it in a clone.

use std::collections::BTreeSet;
use std::fs;
use std::io;

/// The processor's model and features, as `/proc/cpuinfo` tells them (proc_cpuinfo(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuFeatures {
    flags: BTreeSet<String>,
}

impl CpuFeatures {
    /// Those of this machine.
    pub fn of_this_machine() -> io::Result<Self> {
        Ok(Self::read(&fs::read_to_string("/proc/cpuinfo")?))
    }

    /// Those that every processor in a `/proc/cpuinfo` has.
    pub fn read(cpuinfo: &str) -> Self {
        let mut lists = cpuinfo
            .lines()
            .filter_map(|line| line.split_once(':'))
            .filter(|(name, _)| name.trim() == "flags")
            .map(|(_, list)| Self::parse(list).flags);
        let first = lists.next().unwrap_or_default();
        Self {
            flags: lists.fold(first, |all, list| {
                all.intersection(&list).cloned().collect()
            }),
        }
    }

    /// Reads what [`Self::to_text`] wrote.
    pub fn parse(text: &str) -> Self {
        Self {
            flags: text.split_whitespace().map(str::to_owned).collect(),
        }
    }

    /// The features in alphabetical order, blanks between them.
    pub fn to_text(&self) -> String {
        let flags: Vec<&str> = self.flags.iter().map(String::as_str).collect();
        flags.join(" ")
    }

    /// Features of `self` that `machine` lacks; none means that a snapshot made with `self` runs there.
    pub fn missing_on(&self, machine: &Self) -> Vec<String> {
        self.flags.difference(&machine.flags).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_every_processor_has_counts() {
        let both = CpuFeatures::read(
            "processor\t: 0\nflags\t\t: sse2 avx fpu\n\nprocessor\t: 1\nflags\t\t: fpu sse2 avx512f\n",
        );
        assert_eq!(both.to_text(), "fpu sse2");
        let other = CpuFeatures::parse("fpu");
        assert_eq!(both.missing_on(&other), ["sse2"]);
        assert!(other.missing_on(&both).is_empty());
        assert!(!CpuFeatures::of_this_machine().unwrap().to_text().is_empty());
    }
}
