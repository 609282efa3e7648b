//! Sets of signals, bit `n - 1` for signal `n`.

use super::Signal;

/// A `sigset_t` of the kernel interface: 64 bits.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct SignalSet(pub u64);

impl SignalSet {
    /// No signal.
    pub const EMPTY: SignalSet = SignalSet(0);
    /// `SIGKILL` and `SIGSTOP`, which nothing can block.
    pub const UNBLOCKABLE: SignalSet = SignalSet((1 << 8) | (1 << 18));

    /// Is the signal in it?
    #[must_use]
    pub fn contains(self, signal: Signal) -> bool {
        self.0 & signal.bit() != 0
    }

    /// With the signal.
    #[must_use]
    pub fn with(self, signal: Signal) -> SignalSet {
        SignalSet(self.0 | signal.bit())
    }

    /// Without the signal.
    #[must_use]
    pub fn without(self, signal: Signal) -> SignalSet {
        SignalSet(self.0 & !signal.bit())
    }

    /// In either.
    #[must_use]
    pub fn union(self, other: SignalSet) -> SignalSet {
        SignalSet(self.0 | other.0)
    }

    /// In this but not in the other.
    #[must_use]
    pub fn minus(self, other: SignalSet) -> SignalSet {
        SignalSet(self.0 & !other.0)
    }

    /// As a mask a guest may set: the unblockable ones taken out.
    #[must_use]
    pub fn blockable(self) -> SignalSet {
        self.minus(SignalSet::UNBLOCKABLE)
    }

    /// Nothing in it?
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl std::fmt::Debug for SignalSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}
