//! A terminal: the line discipline between what is typed on one side and the programs on the other.
//!
//! The *master* side types and sees the screen; it is a descriptor of `/dev/ptmx` or the host end of
//! the console. The *slave* side is what programs have as their terminal.
//!
//! ```text
//! master write ─▶ typed ─▶ Input (lines, echo, signals) ─▶ slave read
//! master read  ◀──────────── Output (OPOST) ◀──────────── slave write
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use kernel_vfs::{Errno, Events, Notify, PollTable, Result, WaitQueue};
use parking_lot::{Mutex, MutexGuard};

use super::job::{JobControl, SIGCONT, SIGHUP};
use super::line::{Effect, Input, echo_char};
use super::output::Output;
use super::termios::{Cc, Iflag, Lflag, Termios, WinSize};
use crate::clock::{Alarm, Clock, ClockId};

/// Typed bytes that may wait for the line discipline.
const TYPED_LIMIT: usize = 64 << 10;
/// What a flush of output leaves: as much as Linux has handed to the master's side already.
const HANDED_OVER: usize = 4095;
/// A unit of `VTIME` in nanoseconds.
const TENTH: u64 = 100_000_000;

bitflags::bitflags! {
    /// Status bytes of packet mode (ioctl_tty(2), `TIOCPKT`).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(super) struct Packet: u8 {
        const FLUSH_READ = 1;
        const FLUSH_WRITE = 2;
        const STOP = 4;
        const START = 8;
        const NO_STOP = 16;
        const DO_STOP = 32;
    }
}

/// Whether a reader or writer of the slave side waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// `O_NONBLOCK`.
    Nonblocking,
    /// The caller waits after `EAGAIN`.
    Waiting,
}

/// The inter-byte or overall timer of `VTIME`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ReadTimer {
    deadline: u64,
    seen: usize,
}

pub(super) struct State {
    pub(super) termios: Termios,
    pub(super) size: WinSize,
    pub(super) input: Input,
    pub(super) output: Output,
    pub(super) typed: VecDeque<u8>,
    pub(super) stopped: bool,
    pub(super) packet_mode: bool,
    pub(super) packet: Packet,
    pub(super) session: Option<i32>,
    pub(super) foreground: i32,
    pub(super) locked: bool,
    pub(super) exclusive: bool,
    pub(super) slaves: usize,
    /// The last slave was closed and none opened since.
    slave_gone: bool,
    /// The master is gone, or the session's leader ended: programs see a hang-up.
    pub(super) hung_up: bool,
    timer: Option<ReadTimer>,
    alarm: Option<Alarm>,
}

/// Told by the `VTIME` alarm.
struct Wakeup(WaitQueue);

impl Notify for Wakeup {
    fn notify(&self, _events: Events) {
        self.0.wake(Events::READABLE);
    }
}

/// A terminal with its two sides.
pub struct Terminal {
    index: Option<u32>,
    pub(super) jobs: Arc<dyn JobControl>,
    clock: Arc<dyn Clock>,
    pub(super) state: Mutex<State>,
    pub(super) slave_queue: WaitQueue,
    pub(super) master_queue: WaitQueue,
    wakeup: Arc<dyn Notify>,
}

/// What to do once the state lock is released.
#[derive(Default)]
pub(super) struct Aftermath {
    signals: Vec<(i32, u32)>,
    slave: Events,
    master: Events,
}

impl Aftermath {
    pub(super) fn join(&mut self, other: Aftermath) {
        self.signals.extend(other.signals);
        self.slave |= other.slave;
        self.master |= other.master;
    }

    pub(super) fn wake_slave(&mut self, events: Events) {
        self.slave |= events;
    }

    pub(super) fn wake_master(&mut self, events: Events) {
        self.master |= events;
    }
}

impl Terminal {
    /// A terminal with usual settings; `index` is its number in `/dev/pts`.
    #[must_use]
    pub fn new(
        index: Option<u32>,
        jobs: Arc<dyn JobControl>,
        clock: Arc<dyn Clock>,
    ) -> Arc<Terminal> {
        let slave_queue = WaitQueue::new();
        Arc::new(Terminal {
            index,
            jobs,
            clock,
            state: Mutex::new(State {
                termios: Termios::default(),
                size: WinSize::default(),
                input: Input::default(),
                output: Output::default(),
                typed: VecDeque::new(),
                stopped: false,
                packet_mode: false,
                packet: Packet::default(),
                session: None,
                foreground: 0,
                locked: index.is_some(),
                exclusive: false,
                slaves: 0,
                slave_gone: false,
                hung_up: false,
                timer: None,
                alarm: None,
            }),
            wakeup: Arc::new(Wakeup(slave_queue.clone())),
            slave_queue,
            master_queue: WaitQueue::new(),
        })
    }

    /// Its number in `/dev/pts`.
    #[must_use]
    pub fn index(&self) -> Option<u32> {
        self.index
    }

    /// The session whose controlling terminal it is.
    #[must_use]
    pub fn session(&self) -> Option<i32> {
        self.state.lock().session
    }

    /// Woken when the master side has something to do.
    #[must_use]
    pub fn host_queue(&self) -> &WaitQueue {
        &self.master_queue
    }

    /// Settings now.
    #[must_use]
    pub fn termios(&self) -> Termios {
        self.state.lock().termios
    }

    /// Types bytes; returns how many were taken.
    ///
    /// # Errors
    /// `EAGAIN` when too much waits to be read.
    pub fn master_write(&self, data: &[u8]) -> Result<usize> {
        let mut state = self.state.lock();
        let n = data
            .len()
            .min(TYPED_LIMIT.saturating_sub(state.typed.len()));
        state.typed.extend(data.iter().take(n));
        let after = state.digest();
        self.settle(state, after);
        if n == 0 && !data.is_empty() {
            return Err(Errno::EAGAIN);
        }
        Ok(n)
    }

    /// Takes what the screen shows.
    ///
    /// # Errors
    /// `EAGAIN`; `EIO` once every slave is closed and all was read.
    pub fn master_read(&self, buf: &mut [u8]) -> Result<usize> {
        let mut state = self.state.lock();
        let Some(first) = buf.first_mut() else {
            return Ok(0);
        };
        if state.packet_mode && !state.packet.is_empty() {
            *first = std::mem::take(&mut state.packet).bits();
            return Ok(1);
        }
        if state.output.bytes.is_empty() {
            let gone = state.slave_gone;
            return Err(if gone { Errno::EIO } else { Errno::EAGAIN });
        }
        let head = usize::from(state.packet_mode);
        if state.packet_mode {
            *first = 0;
        }
        let room = buf.get_mut(head..).unwrap_or_default();
        let n = room.len().min(state.output.bytes.len());
        let taken = state.output.bytes.drain(..n);
        room.iter_mut().zip(taken).for_each(|(to, from)| *to = from);
        let mut after = state.digest();
        after.slave |= Events::WRITABLE;
        self.settle(state, after);
        Ok(head + n)
    }

    /// Readiness of the master side.
    pub fn master_poll(&self, table: &mut PollTable) -> Events {
        table.add(&self.master_queue);
        let state = self.state.lock();
        let status = state.packet_mode && !state.packet.is_empty();
        let mut ready = Events::empty();
        ready.set(Events::READABLE, status || !state.output.bytes.is_empty());
        ready.set(Events::PRI, status);
        ready.set(Events::HUP, state.slave_gone);
        ready.set(Events::WRITABLE, state.typed.len() < TYPED_LIMIT);
        ready
    }

    /// Reads as a program does, by the rules of `ICANON`, `VMIN` and `VTIME`.
    ///
    /// # Errors
    /// `EAGAIN`; `EIO` or a stop signal for a background process. 0 after a hang-up.
    pub fn slave_read(&self, buf: &mut [u8], patience: Patience) -> Result<usize> {
        self.check_read()?;
        let mut state = self.state.lock();
        if state.hung_up || buf.is_empty() {
            return Ok(0);
        }
        let n = if !state.termios.canonical() {
            self.raw_read(&mut state, buf, patience)?
        } else if state.input.has_line() {
            state.input.read_line(buf)
        } else {
            return Err(Errno::EAGAIN);
        };
        let mut after = state.digest();
        after.master |= Events::WRITABLE;
        self.settle(state, after);
        Ok(n)
    }

    fn raw_read(&self, state: &mut State, buf: &mut [u8], patience: Patience) -> Result<usize> {
        let available = state.input.readable(&state.termios);
        let min = usize::from(state.termios.cc(Cc::Min));
        let time = u64::from(state.termios.cc(Cc::Time)) * TENTH;
        let enough = available >= min.min(buf.len()) && available > 0;
        if enough || (available > 0 && patience == Patience::Nonblocking) {
            state.timer = None;
            return Ok(state.input.read_raw(buf));
        }
        if min == 0 && time == 0 {
            return Ok(0);
        }
        let timed = time > 0 && (min == 0 || available > 0);
        if !timed || patience == Patience::Nonblocking {
            return Err(Errno::EAGAIN);
        }
        let now = self.clock.now(ClockId::Monotonic);
        match state.timer.filter(|t| t.seen == available) {
            Some(timer) if timer.deadline <= now => {
                state.timer = None;
                Ok(state.input.read_raw(buf))
            }
            Some(_) => Err(Errno::EAGAIN),
            None => {
                let deadline = now.saturating_add(time);
                state.timer = Some(ReadTimer {
                    deadline,
                    seen: available,
                });
                let target = Arc::downgrade(&self.wakeup);
                state.alarm = Some(self.clock.arm(ClockId::Monotonic, deadline, target));
                Err(Errno::EAGAIN)
            }
        }
    }

    /// Writes as a program does.
    ///
    /// # Errors
    /// `EAGAIN` when stopped or full, `EIO` after a hang-up, a stop signal for a background process with `TOSTOP`.
    pub fn slave_write(&self, data: &[u8]) -> Result<usize> {
        if self.state.lock().termios.lflag().contains(Lflag::TOSTOP) {
            self.check_change()?;
        }
        let mut guard = self.state.lock();
        let state = &mut *guard;
        if state.hung_up {
            return Err(Errno::EIO);
        }
        if data.is_empty() {
            return Ok(0);
        }
        if state.stopped {
            return Err(Errno::EAGAIN);
        }
        let n = state.output.write(data, &state.termios);
        drop(guard);
        if n == 0 {
            return Err(Errno::EAGAIN);
        }
        self.master_queue.wake(Events::READABLE);
        Ok(n)
    }

    /// Readiness of the slave side.
    pub fn slave_poll(&self, table: &mut PollTable) -> Events {
        table.add(&self.slave_queue);
        let state = self.state.lock();
        if state.hung_up {
            return Events::READABLE | Events::WRITABLE | Events::ALWAYS;
        }
        let mut ready = Events::empty();
        ready.set(Events::READABLE, self.has_input(&state));
        ready.set(Events::WRITABLE, !state.stopped && state.output.has_room());
        ready
    }

    fn has_input(&self, state: &State) -> bool {
        if state.termios.canonical() {
            return state.input.has_line();
        }
        let available = state.input.readable(&state.termios);
        let (min, time) = (state.termios.cc(Cc::Min), state.termios.cc(Cc::Time));
        let need = if time == 0 {
            usize::from(min).max(1)
        } else {
            1
        };
        let now = || self.clock.now(ClockId::Monotonic);
        available >= need || state.timer.is_some_and(|t| t.deadline <= now())
    }

    /// A slave is opened.
    ///
    /// # Errors
    /// `EIO` while locked or after a hang-up, `EBUSY` when opened exclusively.
    pub fn open_slave(&self) -> Result<()> {
        let mut state = self.state.lock();
        if state.hung_up || state.locked {
            return Err(Errno::EIO);
        }
        if state.exclusive && state.slaves > 0 && !self.jobs.caller().privileged {
            return Err(Errno::EBUSY);
        }
        state.slaves += 1;
        state.slave_gone = false;
        Ok(())
    }

    /// A slave is closed.
    pub(super) fn close_slave(&self) {
        let mut state = self.state.lock();
        state.slaves = state.slaves.saturating_sub(1);
        let last = state.slaves == 0;
        if last {
            state.slave_gone = true;
            state.exclusive = false;
        }
        drop(state);
        if last {
            self.master_queue
                .wake(Events::READABLE | Events::WRITABLE | Events::ALWAYS);
        }
    }

    /// The other side is gone: programs see a hang-up, the session's leader and the foreground
    /// group get `SIGHUP`.
    pub fn hang_up(&self) {
        let mut state = self.state.lock();
        if std::mem::replace(&mut state.hung_up, true) {
            return;
        }
        let session = state.session.take();
        let foreground = std::mem::take(&mut state.foreground);
        drop(state);
        self.slave_queue
            .wake(Events::READABLE | Events::WRITABLE | Events::ALWAYS);
        if let Some(session) = session {
            self.jobs.signal_leader(session, SIGHUP);
            self.jobs.signal_leader(session, SIGCONT);
            self.jobs.set_controlling_terminal(session, None);
        }
        if foreground > 0 {
            self.jobs.signal_group(foreground, SIGHUP);
        }
    }

    /// Releases the state and tells whom it concerns.
    pub(super) fn settle(&self, state: MutexGuard<'_, State>, after: Aftermath) {
        drop(state);
        for (group, signal) in after.signals {
            self.jobs.signal_group(group, signal);
        }
        if !after.slave.is_empty() {
            self.slave_queue.wake(after.slave);
        }
        if !after.master.is_empty() {
            self.master_queue.wake(after.master);
        }
    }
}

impl State {
    /// Feeds typed bytes to the line discipline as far as it takes them.
    pub(super) fn digest(&mut self) -> Aftermath {
        let mut after = Aftermath::default();
        let shown = self.output.bytes.len();
        let mut moved = false;
        while self.input.accepts(&self.termios) {
            let Some(byte) = self.typed.pop_front() else {
                break;
            };
            moved = true;
            let effect = self.input.receive(byte, &self.termios, &mut self.output);
            let restarts = self.stopped
                && self.termios.iflag().contains(Iflag::IXON | Iflag::IXANY)
                && effect != Effect::Stop;
            match effect {
                Effect::Signal(signal) => self.interrupt(signal, byte, &mut after),
                Effect::Stop => self.stop(&mut after),
                Effect::Start => self.start(&mut after),
                Effect::None if restarts => self.start(&mut after),
                Effect::None => {}
            }
        }
        if moved {
            after.slave |= Events::READABLE;
            after.master |= Events::WRITABLE;
        }
        if self.output.bytes.len() != shown {
            after.master |= Events::READABLE;
        }
        after
    }

    fn interrupt(&mut self, signal: u32, byte: u8, after: &mut Aftermath) {
        if !self.termios.lflag().contains(Lflag::NOFLSH) {
            self.input.flush();
            self.flush_output(after);
            self.note(Packet::FLUSH_READ, after);
        }
        if self.termios.iflag().contains(Iflag::IXON) {
            self.start(after);
        }
        if self.termios.lflag().contains(Lflag::ECHO) {
            echo_char(byte, &self.termios, &mut self.output);
        }
        if self.foreground > 0 {
            after.signals.push((self.foreground, signal));
        }
    }

    pub(super) fn stop(&mut self, after: &mut Aftermath) {
        if !std::mem::replace(&mut self.stopped, true) {
            self.output.pause();
            self.packet.remove(Packet::START);
            self.note(Packet::STOP, after);
        }
    }

    pub(super) fn start(&mut self, after: &mut Aftermath) {
        if std::mem::replace(&mut self.stopped, false) {
            self.packet.remove(Packet::STOP);
            self.note(Packet::START, after);
            self.output.resume(&self.termios);
            after.master |= Events::READABLE;
            after.slave |= Events::WRITABLE;
        }
    }

    pub(super) fn flush_output(&mut self, after: &mut Aftermath) {
        self.output.bytes.truncate(HANDED_OVER);
        self.note(Packet::FLUSH_WRITE, after);
        after.slave |= Events::WRITABLE;
    }

    pub(super) fn note(&mut self, status: Packet, after: &mut Aftermath) {
        if self.packet_mode {
            self.packet |= status;
            after.master |= Events::READABLE | Events::PRI;
        }
    }
}
