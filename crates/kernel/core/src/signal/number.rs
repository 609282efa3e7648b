//! Signal numbers as x86-64 Linux has them.

/// A valid signal number, 1..=64.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(try_from = "i32", into = "i32")]
pub struct Signal(u8);

macro_rules! signals {
    ($($name:ident = $value:literal),* $(,)?) => {
        impl Signal {
            $(
                #[doc = concat!("`SIG", stringify!($name), "`.")]
                pub const $name: Signal = Signal($value);
            )*

            /// `"SIGSEGV"`, `"SIGRT"` for real-time ones.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self.0 {
                    $($value => concat!("SIG", stringify!($name)),)*
                    _ => "SIGRT",
                }
            }
        }
    };
}

signals! {
    HUP = 1, INT = 2, QUIT = 3, ILL = 4, TRAP = 5, ABRT = 6, BUS = 7, FPE = 8, KILL = 9, USR1 = 10,
    SEGV = 11, USR2 = 12, PIPE = 13, ALRM = 14, TERM = 15, STKFLT = 16, CHLD = 17, CONT = 18,
    STOP = 19, TSTP = 20, TTIN = 21, TTOU = 22, URG = 23, XCPU = 24, XFSZ = 25, VTALRM = 26,
    PROF = 27, WINCH = 28, IO = 29, PWR = 30, SYS = 31,
}

impl TryFrom<i32> for Signal {
    type Error = &'static str;

    fn try_from(number: i32) -> Result<Signal, &'static str> {
        Signal::new(number).ok_or("no signal has this number")
    }
}

impl From<Signal> for i32 {
    fn from(signal: Signal) -> i32 {
        signal.number()
    }
}

impl Signal {
    /// The lowest real-time signal of the kernel interface (libc keeps some for itself).
    pub const RT_MIN: u8 = 32;

    /// A signal from a guest's number; `None` for 0 and beyond 64.
    #[must_use]
    pub fn new(number: i32) -> Option<Signal> {
        u8::try_from(number)
            .ok()
            .filter(|n| (1..=64).contains(n))
            .map(Signal)
    }

    /// The number.
    #[must_use]
    pub fn number(self) -> i32 {
        i32::from(self.0)
    }

    /// Bit in a signal set.
    #[must_use]
    pub fn bit(self) -> u64 {
        1 << (self.0 - 1)
    }

    /// Real-time signals queue; standard ones coalesce.
    #[must_use]
    pub fn is_realtime(self) -> bool {
        self.0 >= Signal::RT_MIN
    }
}

impl std::fmt::Debug for Signal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}({})", self.name(), self.0)
    }
}

/// `si_code` values (sigaction(2)).
#[expect(missing_docs, reason = "names are sigaction(2)'s own")]
pub mod si_code {
    pub const SI_USER: i32 = 0;
    pub const SI_KERNEL: i32 = 0x80;
    pub const SI_QUEUE: i32 = -1;
    pub const SI_TIMER: i32 = -2;
    pub const SI_TKILL: i32 = -6;
    pub const CLD_EXITED: i32 = 1;
    pub const CLD_KILLED: i32 = 2;
    pub const CLD_DUMPED: i32 = 3;
    pub const CLD_STOPPED: i32 = 5;
    pub const CLD_CONTINUED: i32 = 6;
}
