//! Pseudo-terminals (pty(7)) and the terminals programs have (termios(3), ioctl_tty(2)).
//!
//! Lock order: device file system, terminal state, wait queue. [`JobControl`] is never called under a
//! terminal's lock, except for [`JobControl::caller`], which must not lock terminals.

mod control;
mod devpts;
mod job;
mod line;
mod output;
mod sides;
mod terminal;
mod termios;
#[cfg(test)]
mod tests;

pub use devpts::{DevPts, TtyDriver};
pub use job::{Caller, JobControl, NoJobs};
pub use sides::{Master, Slave};
pub use terminal::{Patience, Terminal};
pub use termios::{Cc, Iflag, Lflag, Oflag, Termios, WinSize};
