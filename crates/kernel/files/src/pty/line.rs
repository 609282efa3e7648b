//! The line discipline `N_TTY`: typed bytes become lines, signals and echo (termios(3)).

use std::collections::VecDeque;

use super::output::Output;
use super::termios::{Cc, Iflag, Lflag, Termios};

/// Most bytes of input that wait for a reader; one more slot is kept for the end of a line.
pub(super) const INPUT_LIMIT: usize = 4095;

/// A byte of input as the reader will find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cell {
    /// A byte inside a line.
    Byte(u8),
    /// The last byte of a line.
    End(u8),
    /// `VEOF`: ends a read, is not read itself.
    Eof,
}

/// What a typed byte did beyond input and echo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing, or input for a reader.
    None,
    /// Send this signal to the foreground group and flush unless `NOFLSH`.
    Signal(u32),
    /// `VSTOP`.
    Stop,
    /// `VSTART`.
    Start,
}

/// Input not read yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Input {
    cells: VecDeque<Cell>,
    /// How many cells belong to finished lines; the rest is being edited.
    complete: usize,
    literal: bool,
}

const SIGINT: u32 = 2;
const SIGQUIT: u32 = 3;
const SIGTSTP: u32 = 20;

impl Input {
    /// Whether a typed byte can be dealt with now: not while unread input fills the buffer, except that an
    /// unfinished line keeps taking bytes (and loses them) so that its end can be typed.
    pub(super) fn accepts(&self, termios: &Termios) -> bool {
        self.cells.len() < INPUT_LIMIT || (termios.canonical() && self.complete == 0)
    }

    /// One typed byte.
    pub(super) fn receive(&mut self, byte: u8, termios: &Termios, output: &mut Output) -> Effect {
        let (iflag, lflag) = (termios.iflag(), termios.lflag());
        let mut byte = byte;
        if iflag.contains(Iflag::ISTRIP) {
            byte &= 0x7f;
        }
        if iflag.contains(Iflag::IUCLC) && lflag.contains(Lflag::IEXTEN) {
            byte = byte.to_ascii_lowercase();
        }
        if std::mem::take(&mut self.literal) {
            self.ordinary(byte, termios, output);
            return Effect::None;
        }
        if iflag.contains(Iflag::IXON) {
            if termios.is(byte, Cc::Start) {
                return Effect::Start;
            }
            if termios.is(byte, Cc::Stop) {
                return Effect::Stop;
            }
        }
        if lflag.contains(Lflag::ISIG)
            && let Some(signal) = signal_of(byte, termios)
        {
            return Effect::Signal(signal);
        }
        match byte {
            b'\r' if iflag.contains(Iflag::IGNCR) => return Effect::None,
            b'\r' if iflag.contains(Iflag::ICRNL) => byte = b'\n',
            b'\n' if iflag.contains(Iflag::INLCR) => byte = b'\r',
            _ => {}
        }
        if !(termios.canonical() && self.edit(byte, termios, output)) {
            self.ordinary(byte, termios, output);
        }
        Effect::None
    }

    /// Canonical mode's special bytes; false for an ordinary one.
    fn edit(&mut self, byte: u8, termios: &Termios, output: &mut Output) -> bool {
        let lflag = termios.lflag();
        let extended = lflag.contains(Lflag::IEXTEN);
        let echo = lflag.contains(Lflag::ECHO);
        if termios.is(byte, Cc::Erase)
            || termios.is(byte, Cc::Kill)
            || (extended && termios.is(byte, Cc::Werase))
        {
            self.erase(byte, termios, output);
        } else if extended && termios.is(byte, Cc::Lnext) {
            self.literal = true;
            if echo && lflag.contains(Lflag::ECHOCTL) {
                output.echo(b'^', termios);
                output.echo(0x08, termios);
            }
        } else if extended && echo && termios.is(byte, Cc::Reprint) {
            echo_char(byte, termios, output);
            output.echo(b'\n', termios);
            for byte in self.editing() {
                echo_char(byte, termios, output);
            }
        } else if byte == b'\n' {
            if lflag.intersects(Lflag::ECHO | Lflag::ECHONL) {
                output.echo(b'\n', termios);
            }
            self.finish(Cell::End(byte));
        } else if termios.is(byte, Cc::Eof) {
            self.finish(Cell::Eof);
        } else if termios.is(byte, Cc::Eol) || (extended && termios.is(byte, Cc::Eol2)) {
            if echo {
                echo_char(byte, termios, output);
            }
            self.finish(Cell::End(byte));
        } else {
            return false;
        }
        true
    }

    fn ordinary(&mut self, byte: u8, termios: &Termios, output: &mut Output) {
        if self.cells.len() >= INPUT_LIMIT {
            if termios.iflag().contains(Iflag::IMAXBEL) {
                output.echo(0x07, termios);
            }
            return;
        }
        if termios.lflag().contains(Lflag::ECHO) {
            if self.cells.len() == self.complete {
                output.line_column = output.column;
            }
            if byte == b'\n' {
                output.echo(byte, termios);
            } else {
                echo_char(byte, termios, output);
            }
        }
        self.cells.push_back(Cell::Byte(byte));
    }

    fn finish(&mut self, end: Cell) {
        self.cells.push_back(end);
        self.complete = self.cells.len();
    }

    /// The bytes of the line being edited.
    fn editing(&self) -> impl DoubleEndedIterator<Item = u8> + '_ {
        self.cells
            .range(self.complete.min(self.cells.len())..)
            .map(|cell| match cell {
                Cell::Byte(b) | Cell::End(b) => *b,
                Cell::Eof => 0,
            })
    }

    fn last_edited(&self) -> Option<u8> {
        self.editing().next_back()
    }

    fn erase(&mut self, which: u8, termios: &Termios, output: &mut Output) {
        let lflag = termios.lflag();
        let echo = lflag.contains(Lflag::ECHO);
        if self.last_edited().is_none() {
            return;
        }
        let kill = termios.is(which, Cc::Kill);
        let visibly = Lflag::ECHOK | Lflag::ECHOKE | Lflag::ECHOE;
        if kill && !(echo && lflag.contains(visibly)) {
            self.cells.truncate(self.complete);
            if echo {
                echo_char(which, termios, output);
                if lflag.contains(Lflag::ECHOK) {
                    output.echo(b'\n', termios);
                }
            }
            return;
        }
        let word = !kill && !termios.is(which, Cc::Erase);
        let mut in_word = false;
        while let Some(byte) = self.leading_byte(termios) {
            if word {
                let part = byte.is_ascii_alphanumeric() || byte == b'_';
                if in_word && !part {
                    break;
                }
                in_word |= part;
            }
            self.drop_char(termios);
            if echo {
                self.echo_erased(byte, word || kill, termios, output);
            }
            if !word && !kill {
                break;
            }
        }
    }

    /// First byte of the last character, over UTF-8 continuations with `IUTF8`.
    fn leading_byte(&self, termios: &Termios) -> Option<u8> {
        self.editing().rev().find(|b| !continues(*b, termios))
    }

    fn drop_char(&mut self, termios: &Termios) {
        while let Some(byte) = self.last_edited() {
            self.cells.pop_back();
            if !continues(byte, termios) {
                break;
            }
        }
    }

    fn echo_erased(&self, byte: u8, many: bool, termios: &Termios, output: &mut Output) {
        let lflag = termios.lflag();
        let rub_out = |output: &mut Output| {
            for byte in [0x08, b' ', 0x08] {
                output.echo(byte, termios);
            }
        };
        if !many && !lflag.contains(Lflag::ECHOE) {
            echo_char(termios.cc(Cc::Erase), termios, output);
        } else if byte == b'\t' {
            for _ in 0..self.tab_width(termios, output) {
                output.echo(0x08, termios);
            }
        } else {
            let shown_as_two = byte.is_ascii_control() && lflag.contains(Lflag::ECHOCTL);
            if shown_as_two {
                rub_out(output);
            }
            if !byte.is_ascii_control() || shown_as_two {
                rub_out(output);
            }
        }
    }

    /// Columns that a tab after the remaining line took.
    fn tab_width(&self, termios: &Termios, output: &Output) -> usize {
        let mut before = 0;
        let mut after_tab = false;
        for byte in self.editing().rev() {
            if byte == b'\t' {
                after_tab = true;
                break;
            }
            if byte.is_ascii_control() {
                before += if termios.lflag().contains(Lflag::ECHOCTL) {
                    2
                } else {
                    0
                };
            } else if !continues(byte, termios) {
                before += 1;
            }
        }
        if !after_tab {
            before += output.line_column;
        }
        8 - (before & 7)
    }

    /// Bytes a reader could take now (`FIONREAD`).
    pub(super) fn readable(&self, termios: &Termios) -> usize {
        if termios.canonical() {
            let finished = self.cells.iter().take(self.complete);
            finished.filter(|c| !matches!(c, Cell::Eof)).count()
        } else {
            self.cells.len()
        }
    }

    /// Whether a whole line, or an end of file, waits.
    pub(super) fn has_line(&self) -> bool {
        self.complete > 0
    }

    /// Takes a line, or the part of it that fits. Nothing means an end of file.
    pub(super) fn read_line(&mut self, buf: &mut [u8]) -> usize {
        let mut done = 0;
        while let Some(cell) = self.cells.front().copied() {
            if self.complete == 0 {
                break;
            }
            if cell != Cell::Eof && done >= buf.len() {
                break;
            }
            self.cells.pop_front();
            self.complete -= 1;
            let (byte, last) = match cell {
                Cell::Eof => break,
                Cell::Byte(byte) => (byte, false),
                Cell::End(byte) => (byte, true),
            };
            if let Some(slot) = buf.get_mut(done) {
                *slot = byte;
                done += 1;
            }
            if last {
                break;
            }
        }
        done
    }

    /// Takes bytes without regard to lines.
    pub(super) fn read_raw(&mut self, buf: &mut [u8]) -> usize {
        let n = buf.len().min(self.cells.len());
        for (slot, cell) in buf.iter_mut().zip(self.cells.drain(..n)) {
            *slot = match cell {
                Cell::Byte(b) | Cell::End(b) => b,
                Cell::Eof => 0,
            };
        }
        self.complete = self.complete.saturating_sub(n);
        n
    }

    /// After `ICANON` was switched: what is there becomes one finished line, or plain bytes.
    pub(super) fn switch_mode(&mut self, canonical: bool) {
        self.complete = 0;
        for cell in &mut self.cells {
            *cell = match *cell {
                Cell::Byte(b) | Cell::End(b) => Cell::Byte(b),
                Cell::Eof => Cell::Byte(0),
            };
        }
        if canonical && let Some(last) = self.cells.back_mut() {
            if let Cell::Byte(b) = *last {
                *last = Cell::End(b);
            }
            self.complete = self.cells.len();
        }
    }

    pub(super) fn flush(&mut self) {
        *self = Input::default();
    }
}

fn continues(byte: u8, termios: &Termios) -> bool {
    termios.iflag().contains(Iflag::IUTF8) && byte & 0xc0 == 0x80
}

fn signal_of(byte: u8, termios: &Termios) -> Option<u32> {
    let table = [(Cc::Intr, SIGINT), (Cc::Quit, SIGQUIT), (Cc::Susp, SIGTSTP)];
    let hit = table.iter().find(|(cc, _)| termios.is(byte, *cc));
    hit.map(|(_, signal)| *signal)
}

/// Echoes a byte, control characters as `^X` with `ECHOCTL`.
pub(super) fn echo_char(byte: u8, termios: &Termios, output: &mut Output) {
    let control = byte.is_ascii_control() && byte != b'\t';
    if control && termios.lflag().contains(Lflag::ECHOCTL) {
        output.echo(b'^', termios);
        output.echo(byte ^ 0x40, termios);
    } else {
        output.echo(byte, termios);
    }
}
