//! How processes end, and the word that says so (wait(2)).

/// How a process ended (wait(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// exit(2) with the low eight bits.
    Code(u8),
    /// Killed by a signal; `core` as wait(2) reports it.
    Signal {
        /// Signal number, 1..=64.
        number: u8,
        /// "core dumped" bit.
        core: bool,
    },
}

impl ExitStatus {
    /// The status word of wait(2).
    #[must_use]
    pub fn encode(self) -> u32 {
        match self {
            ExitStatus::Code(code) => u32::from(code) << 8,
            ExitStatus::Signal { number, core } => u32::from(number) | if core { 0x80 } else { 0 },
        }
    }

    /// From the status word.
    #[must_use]
    pub fn decode(word: u32) -> ExitStatus {
        let [low, code, ..] = word.to_le_bytes();
        match low & 0x7f {
            0 => ExitStatus::Code(code),
            number => ExitStatus::Signal {
                number,
                core: low & 0x80 != 0,
            },
        }
    }
}
