//! Terminal settings (termios(3), the kernel's `struct termios` and `struct termios2`).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

bitflags::bitflags! {
    /// `c_iflag`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Iflag: u32 {
        /// Strip the eighth bit.
        const ISTRIP = 0o40;
        /// NL becomes CR.
        const INLCR = 0o100;
        /// CR is dropped.
        const IGNCR = 0o200;
        /// CR becomes NL.
        const ICRNL = 0o400;
        /// Upper case becomes lower case.
        const IUCLC = 0o1000;
        /// `VSTOP` and `VSTART` stop and start output.
        const IXON = 0o2000;
        /// Any character starts output.
        const IXANY = 0o4000;
        /// A full line rings the bell.
        const IMAXBEL = 0o20000;
        /// Erasing knows UTF-8.
        const IUTF8 = 0o40000;
        const _ = !0;
    }

    /// `c_oflag`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Oflag: u32 {
        /// Output is processed at all.
        const OPOST = 0o1;
        /// Lower case becomes upper case.
        const OLCUC = 0o2;
        /// NL becomes CR NL.
        const ONLCR = 0o4;
        /// CR becomes NL.
        const OCRNL = 0o10;
        /// No CR at column zero.
        const ONOCR = 0o20;
        /// NL returns the carriage.
        const ONLRET = 0o40;
        /// Tabs become spaces (`XTABS`, both bits).
        const XTABS = 0o14000;
        const _ = !0;
    }

    /// `c_lflag`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Lflag: u32 {
        /// `VINTR`, `VQUIT`, `VSUSP` send signals.
        const ISIG = 0o1;
        /// Input is delivered in lines.
        const ICANON = 0o2;
        /// Input is echoed.
        const ECHO = 0o10;
        /// `VERASE` erases on screen.
        const ECHOE = 0o20;
        /// `VKILL` starts a new line.
        const ECHOK = 0o40;
        /// NL is echoed even without `ECHO`.
        const ECHONL = 0o100;
        /// Signals do not flush.
        const NOFLSH = 0o200;
        /// Writing from the background stops the writer.
        const TOSTOP = 0o400;
        /// Control characters are echoed as `^X`.
        const ECHOCTL = 0o1000;
        /// `VKILL` erases the line on screen.
        const ECHOKE = 0o4000;
        /// `VLNEXT`, `VWERASE`, `VREPRINT`, `VEOL2` work.
        const IEXTEN = 0o100000;
        const _ = !0;
    }
}

/// An index into `c_cc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are termios(3)'s own, without the V")]
pub enum Cc {
    Intr = 0,
    Quit = 1,
    Erase = 2,
    Kill = 3,
    Eof = 4,
    Time = 5,
    Min = 6,
    Start = 8,
    Stop = 9,
    Susp = 10,
    Eol = 11,
    Reprint = 12,
    Werase = 14,
    Lnext = 15,
    Eol2 = 16,
}

/// `struct termios2`; the first 36 bytes are `struct termios`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Termios {
    iflag: u32,
    oflag: u32,
    cflag: u32,
    lflag: u32,
    line: u8,
    cc: [u8; 19],
    ispeed: u32,
    ospeed: u32,
}

/// Bytes of `struct termios`, without the speeds.
pub(super) const TERMIOS_SIZE: usize = 36;
/// `B38400`, eight bits, receiver on.
const CFLAG: u32 = 0o17 | 0o60 | 0o200;
const DISABLED: u8 = 0;

impl Default for Termios {
    /// What Linux gives a new terminal.
    fn default() -> Termios {
        let mut cc = [0; 19];
        let defaults = [
            3, 0x1c, 0x7f, 0x15, 4, 0, 1, 0, 0x11, 0x13, 0x1a, 0, 0x12, 0x0f, 0x17, 0x16,
        ];
        cc.iter_mut()
            .zip(defaults)
            .for_each(|(to, from)| *to = from);
        let lflag = Lflag::ISIG
            | Lflag::ICANON
            | Lflag::ECHO
            | Lflag::ECHOE
            | Lflag::ECHOK
            | Lflag::ECHOCTL
            | Lflag::ECHOKE
            | Lflag::IEXTEN;
        Termios {
            iflag: (Iflag::ICRNL | Iflag::IXON).bits(),
            oflag: (Oflag::OPOST | Oflag::ONLCR).bits(),
            cflag: CFLAG,
            lflag: lflag.bits(),
            line: 0,
            cc,
            ispeed: 38400,
            ospeed: 38400,
        }
    }
}

impl Termios {
    /// Input modes.
    #[must_use]
    pub fn iflag(&self) -> Iflag {
        Iflag::from_bits_retain(self.iflag)
    }

    /// Output modes.
    #[must_use]
    pub fn oflag(&self) -> Oflag {
        Oflag::from_bits_retain(self.oflag)
    }

    /// Local modes.
    #[must_use]
    pub fn lflag(&self) -> Lflag {
        Lflag::from_bits_retain(self.lflag)
    }

    /// A control character or number.
    #[must_use]
    pub fn cc(&self, which: Cc) -> u8 {
        self.cc.get(which as usize).copied().unwrap_or(DISABLED)
    }

    /// Whether a byte is this control character; one set to zero is disabled.
    #[must_use]
    pub fn is(&self, byte: u8, which: Cc) -> bool {
        byte != DISABLED && byte == self.cc(which)
    }

    /// Whether input comes in lines.
    #[must_use]
    pub fn canonical(&self) -> bool {
        self.lflag().contains(Lflag::ICANON)
    }

    /// Whether flow control works with the usual ^S and ^Q (`TIOCPKT_DOSTOP`).
    pub(super) fn usual_flow(&self) -> bool {
        self.iflag().contains(Iflag::IXON)
            && self.cc(Cc::Stop) == 0x13
            && self.cc(Cc::Start) == 0x11
    }

    /// As `struct termios`.
    #[must_use]
    pub fn to_old(&self) -> [u8; TERMIOS_SIZE] {
        let mut out = [0; TERMIOS_SIZE];
        let all = self.as_bytes();
        out.iter_mut().zip(all).for_each(|(to, from)| *to = *from);
        out
    }

    /// Takes over a `struct termios`, keeping the speeds.
    #[must_use]
    pub fn with_old(&self, old: &[u8; TERMIOS_SIZE]) -> Termios {
        let mut new = *self;
        let bytes = new.as_mut_bytes();
        bytes.iter_mut().zip(old).for_each(|(to, from)| *to = *from);
        new.settled()
    }

    /// What a pseudo-terminal makes of settings it is given: always eight bits, no parity (`pty_set_termios`).
    #[must_use]
    pub fn settled(mut self) -> Termios {
        const CSIZE_PARENB: u32 = 0o60 | 0o400;
        self.cflag = self.cflag & !CSIZE_PARENB | 0o60 | 0o200;
        self.line = 0;
        self
    }
}

/// `struct winsize` (`TIOCGWINSZ`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
#[expect(missing_docs, reason = "field names are ioctl_tty(2)'s own")]
pub struct WinSize {
    pub row: u16,
    pub col: u16,
    pub xpixel: u16,
    pub ypixel: u16,
}
