//! Terminal ioctls (ioctl_tty(2)) and the job control checks before them.

use std::sync::Arc;

use base_abi::ioctl;
use kernel_vfs::{Errno, Events, Result, UserMemory};
use zerocopy::{FromZeros, IntoBytes};

use super::Terminal;
use super::job::{SIGCONT, SIGHUP, SIGTTIN, SIGTTOU, SIGWINCH};
use super::terminal::{Aftermath, Packet, Patience};
use super::termios::{Cc, TERMIOS_SIZE, Termios, WinSize};

/// The kernel's `ERESTARTSYS`: a signal was just sent to the caller; run the call again after it.
const RESTART: i32 = 512;

/// Which side an ioctl was made on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Master,
    Slave,
}

/// When new settings take effect. Output never waits here, so draining is immediate.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Settle {
    Now,
    Flush,
}

impl Terminal {
    /// A background process that reads is stopped with `SIGTTIN` (`__tty_check_change`).
    pub(super) fn check_read(&self) -> Result<()> {
        self.check_background(SIGTTIN)
    }

    /// A background process that writes with `TOSTOP`, or changes settings, is stopped with `SIGTTOU`.
    pub(super) fn check_change(&self) -> Result<()> {
        self.check_background(SIGTTOU)
    }

    fn check_background(&self, signal: u32) -> Result<()> {
        let caller = self.jobs.caller();
        let (session, foreground) = {
            let state = self.state.lock();
            (state.session, state.foreground)
        };
        let in_front = foreground == 0 || caller.group == foreground;
        if session != Some(caller.session) || in_front {
            return Ok(());
        }
        if self.jobs.shuns(signal) {
            return if signal == SIGTTIN {
                Err(Errno::EIO)
            } else {
                Ok(())
            };
        }
        if caller.orphaned {
            return Err(Errno::EIO);
        }
        self.jobs.signal_group(caller.group, signal);
        Err(Errno::from_raw(RESTART))
    }

    /// Whether it is the caller's controlling terminal.
    fn controls_caller(&self) -> bool {
        let session = self.state.lock().session;
        session.is_some() && session == Some(self.jobs.caller().session)
    }

    pub(super) fn control(
        self: &Arc<Self>,
        side: Side,
        memory: &dyn UserMemory,
        request: u32,
        arg: u64,
    ) -> Result<u64> {
        if side == Side::Slave && self.state.lock().hung_up {
            return Err(if request == ioctl::TIOCSPGRP {
                Errno::ENOTTY
            } else {
                Errno::EIO
            });
        }
        match request {
            ioctl::TCGETS => memory.write_bytes(arg, &self.termios().to_old())?,
            ioctl::TCGETS2 => memory.write_bytes(arg, self.termios().as_bytes())?,
            ioctl::TCSETS | ioctl::TCSETSW => self.set_old(memory, arg, Settle::Now)?,
            ioctl::TCSETSF => self.set_old(memory, arg, Settle::Flush)?,
            ioctl::TCSETS2 | ioctl::TCSETSW2 => self.set_new(memory, arg, Settle::Now)?,
            ioctl::TCSETSF2 => self.set_new(memory, arg, Settle::Flush)?,
            ioctl::TIOCGWINSZ => memory.write_bytes(arg, self.window_size().as_bytes())?,
            ioctl::TIOCSWINSZ => {
                let mut size = WinSize::default();
                memory.read_bytes(arg, size.as_mut_bytes())?;
                self.resize(size);
            }
            ioctl::TIOCSCTTY => self.take_control(arg)?,
            ioctl::TIOCNOTTY => self.give_up_control()?,
            ioctl::TIOCGPGRP => {
                self.need_control(side)?;
                write_int(memory, arg, self.state.lock().foreground)?;
            }
            ioctl::TIOCSPGRP => self.set_foreground(read_int(memory, arg)?)?,
            ioctl::TIOCGSID => {
                self.need_control(side)?;
                let session = self.session().ok_or(Errno::ENOTTY)?;
                write_int(memory, arg, session)?;
            }
            ioctl::FIONREAD => write_int(memory, arg, self.waiting_bytes(side))?,
            ioctl::TIOCOUTQ => write_int(memory, arg, 0)?,
            ioctl::TCFLSH => self.flush(side, arg)?,
            ioctl::TCSBRK | ioctl::TCSBRKP => self.check_change()?,
            ioctl::TCXONC => self.flow(arg)?,
            ioctl::TIOCSTI => return Err(Errno::EPERM),
            ioctl::TIOCGETD => write_int(memory, arg, 0)?,
            ioctl::TIOCSETD if read_int(memory, arg)? == 0 => {}
            ioctl::TIOCSETD => return Err(Errno::EINVAL),
            ioctl::TIOCEXCL => self.state.lock().exclusive = true,
            ioctl::TIOCNXCL => self.state.lock().exclusive = false,
            ioctl::TIOCGEXCL => write_int(memory, arg, self.state.lock().exclusive.into())?,
            _ if side == Side::Master => return self.master_control(memory, request, arg),
            _ => return Err(Errno::ENOTTY),
        }
        Ok(0)
    }

    fn master_control(&self, memory: &dyn UserMemory, request: u32, arg: u64) -> Result<u64> {
        match request {
            ioctl::TIOCGPTN => {
                let index = self.index().ok_or(Errno::ENOTTY)?;
                memory.write_bytes(arg, &index.to_le_bytes())?;
            }
            ioctl::TIOCSPTLCK => self.state.lock().locked = read_int(memory, arg)? != 0,
            ioctl::TIOCGPTLCK => write_int(memory, arg, self.state.lock().locked.into())?,
            ioctl::TIOCPKT => {
                let on = read_int(memory, arg)? != 0;
                let mut state = self.state.lock();
                state.packet_mode = on;
                state.packet = Packet::default();
            }
            ioctl::TIOCGPKT => write_int(memory, arg, self.state.lock().packet_mode.into())?,
            ioctl::TIOCSIG => {
                let foreground = self.state.lock().foreground;
                let signal = u32::try_from(arg).ok().filter(|s| (1..=64).contains(s));
                let signal = signal.ok_or(Errno::EINVAL)?;
                if foreground > 0 {
                    self.jobs.signal_group(foreground, signal);
                }
            }
            _ => return Err(Errno::ENOTTY),
        }
        Ok(0)
    }

    fn set_old(&self, memory: &dyn UserMemory, arg: u64, how: Settle) -> Result<()> {
        self.check_change()?;
        let mut old = [0; TERMIOS_SIZE];
        memory.read_bytes(arg, &mut old)?;
        let new = self.termios().with_old(&old);
        self.set_termios(new, how);
        Ok(())
    }

    fn set_new(&self, memory: &dyn UserMemory, arg: u64, how: Settle) -> Result<()> {
        self.check_change()?;
        let mut new = Termios::new_zeroed();
        memory.read_bytes(arg, new.as_mut_bytes())?;
        self.set_termios(new.settled(), how);
        Ok(())
    }

    fn set_termios(&self, new: Termios, how: Settle) {
        let mut state = self.state.lock();
        let mut after = Aftermath::default();
        if how == Settle::Flush {
            state.input.flush();
            state.typed.clear();
        }
        let old = std::mem::replace(&mut state.termios, new);
        if old.canonical() != new.canonical() {
            state.input.switch_mode(new.canonical());
        }
        if old.usual_flow() != new.usual_flow() {
            let (now, before) = if new.usual_flow() {
                (Packet::DO_STOP, Packet::NO_STOP)
            } else {
                (Packet::NO_STOP, Packet::DO_STOP)
            };
            state.packet.remove(before);
            state.note(now, &mut after);
        }
        if !new.iflag().contains(super::termios::Iflag::IXON) {
            state.start(&mut after);
        }
        let mut more = state.digest();
        more.join(after);
        more.wake_slave(Events::READABLE | Events::WRITABLE);
        self.settle(state, more);
    }

    /// `TIOCGWINSZ`.
    #[must_use]
    pub fn window_size(&self) -> WinSize {
        self.state.lock().size
    }

    /// `TIOCSWINSZ`: tells the foreground group when the size changes.
    pub fn resize(&self, size: WinSize) {
        let mut state = self.state.lock();
        let changed = std::mem::replace(&mut state.size, size) != size;
        let foreground = state.foreground;
        drop(state);
        if changed && foreground > 0 {
            self.jobs.signal_group(foreground, SIGWINCH);
        }
    }

    /// open(2) without `O_NOCTTY`: a session leader without a terminal takes this one if it is free.
    pub(super) fn adopt(self: &Arc<Self>) {
        let caller = self.jobs.caller();
        let mut state = self.state.lock();
        let free = state.session.is_none() && !state.hung_up;
        if caller.process == 0 || !caller.leads_session() || !free {
            return;
        }
        drop(state);
        if self.jobs.controlling_terminal().is_some() {
            return;
        }
        state = self.state.lock();
        state.session = Some(caller.session);
        state.foreground = caller.group;
        drop(state);
        self.jobs
            .set_controlling_terminal(caller.session, Some(Arc::clone(self)));
    }

    fn take_control(self: &Arc<Self>, steal: u64) -> Result<()> {
        let caller = self.jobs.caller();
        let holder = self.session();
        if caller.leads_session() && holder == Some(caller.session) {
            return Ok(());
        }
        if !caller.leads_session() || self.jobs.controlling_terminal().is_some() {
            return Err(Errno::EPERM);
        }
        if let Some(holder) = holder {
            if steal != 1 || !caller.privileged {
                return Err(Errno::EPERM);
            }
            self.jobs.set_controlling_terminal(holder, None);
        }
        let mut state = self.state.lock();
        state.session = Some(caller.session);
        state.foreground = caller.group;
        drop(state);
        self.jobs
            .set_controlling_terminal(caller.session, Some(Arc::clone(self)));
        Ok(())
    }

    fn give_up_control(&self) -> Result<()> {
        if !self.controls_caller() {
            return Err(Errno::ENOTTY);
        }
        let caller = self.jobs.caller();
        if !caller.leads_session() {
            return Ok(());
        }
        let mut state = self.state.lock();
        let foreground = std::mem::take(&mut state.foreground);
        state.session = None;
        drop(state);
        self.jobs.set_controlling_terminal(caller.session, None);
        if foreground > 0 {
            self.jobs.signal_group(foreground, SIGHUP);
            self.jobs.signal_group(foreground, SIGCONT);
        }
        Ok(())
    }

    fn need_control(&self, side: Side) -> Result<()> {
        if side == Side::Slave && !self.controls_caller() {
            return Err(Errno::ENOTTY);
        }
        Ok(())
    }

    fn set_foreground(&self, group: i32) -> Result<()> {
        self.check_change()?;
        if !self.controls_caller() {
            return Err(Errno::ENOTTY);
        }
        if group < 0 {
            return Err(Errno::EINVAL);
        }
        let session = self.jobs.session_of_group(group).ok_or(Errno::ESRCH)?;
        if session != self.jobs.caller().session {
            return Err(Errno::EPERM);
        }
        self.state.lock().foreground = group;
        Ok(())
    }

    fn waiting_bytes(&self, side: Side) -> i32 {
        let state = self.state.lock();
        let bytes = match side {
            Side::Master => state.output.bytes.len(),
            Side::Slave => state.input.readable(&state.termios),
        };
        i32::try_from(bytes).unwrap_or(i32::MAX)
    }

    /// `TCFLSH`: 0 input, 1 output, 2 both.
    fn flush(&self, side: Side, which: u64) -> Result<()> {
        if which > 2 {
            return Err(Errno::EINVAL);
        }
        self.check_change()?;
        let mut state = self.state.lock();
        let mut after = Aftermath::default();
        let (input, output) = (which != 1, which != 0);
        match side {
            Side::Slave => {
                if input {
                    state.input.flush();
                    state.typed.clear();
                    state.note(Packet::FLUSH_READ, &mut after);
                }
                if output {
                    state.flush_output(&mut after);
                }
            }
            Side::Master => {
                if input {
                    state.output.bytes.clear();
                }
                if output {
                    state.typed.clear();
                }
            }
        }
        after.wake_slave(Events::WRITABLE);
        self.settle(state, after);
        Ok(())
    }

    /// `TCXONC`: 0 stops, 1 starts output; 2 and 3 send the stop and start characters.
    fn flow(&self, how: u64) -> Result<()> {
        self.check_change()?;
        let mut state = self.state.lock();
        let mut after = Aftermath::default();
        match how {
            0 => state.stop(&mut after),
            1 => state.start(&mut after),
            2 | 3 => {
                let which = if how == 2 { Cc::Stop } else { Cc::Start };
                let byte = state.termios.cc(which);
                if byte != 0 && state.output.has_room() {
                    state.output.bytes.push_back(byte);
                    after.wake_master(Events::READABLE);
                }
            }
            _ => return Err(Errno::EINVAL),
        }
        self.settle(state, after);
        Ok(())
    }
}

impl Patience {
    /// By the status flags of a description.
    pub(super) fn of(nonblocking: bool) -> Patience {
        if nonblocking {
            Patience::Nonblocking
        } else {
            Patience::Waiting
        }
    }
}

fn read_int(memory: &dyn UserMemory, arg: u64) -> Result<i32> {
    let mut bytes = [0; 4];
    memory.read_bytes(arg, &mut bytes)?;
    Ok(i32::from_le_bytes(bytes))
}

fn write_int(memory: &dyn UserMemory, arg: u64, value: i32) -> Result<()> {
    memory.write_bytes(arg, &value.to_le_bytes())
}
