//! Output processing: what `OPOST` makes of bytes on their way to the screen.

use std::collections::VecDeque;

use super::termios::{Iflag, Oflag, Termios};

/// Bytes that wait for the master to read them, and where the cursor stands.
#[derive(Clone, Debug, Default)]
pub(super) struct Output {
    pub(super) bytes: VecDeque<u8>,
    pub(super) column: usize,
    /// The column where the line being typed began, for erasing tabs.
    pub(super) line_column: usize,
    /// While output is stopped, echo waits here.
    paused: bool,
    held: Vec<u8>,
}

/// Most bytes that wait; a writer then waits too.
pub(super) const OUTPUT_LIMIT: usize = 64 << 10;
/// Echo may go this far beyond, then it is lost.
const ECHO_EXTRA: usize = 4 << 10;
/// The longest a byte becomes: a tab of eight spaces.
const LONGEST: usize = 8;

impl Output {
    /// Whether a byte of a writer fits, however long it becomes.
    pub(super) fn has_room(&self) -> bool {
        self.bytes.len() + LONGEST <= OUTPUT_LIMIT
    }

    /// Appends what fits of a writer's bytes; returns how many were taken.
    pub(super) fn write(&mut self, data: &[u8], termios: &Termios) -> usize {
        let mut taken = 0;
        for byte in data {
            if !self.has_room() {
                break;
            }
            self.put(*byte, termios);
            taken += 1;
        }
        taken
    }

    /// Appends an echoed byte if there is room.
    pub(super) fn echo(&mut self, byte: u8, termios: &Termios) {
        if self.paused {
            if self.held.len() < ECHO_EXTRA {
                self.held.push(byte);
            }
        } else if self.bytes.len() + LONGEST <= OUTPUT_LIMIT + ECHO_EXTRA {
            self.put(byte, termios);
        }
    }

    /// Output is stopped: echo is held back.
    pub(super) fn pause(&mut self) {
        self.paused = true;
    }

    /// Output goes on: shows what was held back.
    pub(super) fn resume(&mut self, termios: &Termios) {
        self.paused = false;
        for byte in std::mem::take(&mut self.held) {
            self.echo(byte, termios);
        }
    }

    fn put(&mut self, byte: u8, termios: &Termios) {
        let flags = termios.oflag();
        if !flags.contains(Oflag::OPOST) {
            self.bytes.push_back(byte);
            return;
        }
        match byte {
            b'\n' => self.newline(flags),
            b'\r' => self.carriage_return(flags),
            b'\t' => {
                let spaces = 8 - (self.column & 7);
                self.column += spaces;
                if flags.contains(Oflag::XTABS) {
                    self.bytes.extend(std::iter::repeat_n(b' ', spaces));
                } else {
                    self.bytes.push_back(byte);
                }
            }
            0x08 => {
                self.column = self.column.saturating_sub(1);
                self.bytes.push_back(byte);
            }
            _ => {
                let upper = flags.contains(Oflag::OLCUC);
                let byte = if upper {
                    byte.to_ascii_uppercase()
                } else {
                    byte
                };
                let continues = byte & 0xc0 == 0x80 && termios.iflag().contains(Iflag::IUTF8);
                if !byte.is_ascii_control() && !continues {
                    self.column = self.column.saturating_add(1);
                }
                self.bytes.push_back(byte);
            }
        }
    }

    fn newline(&mut self, flags: Oflag) {
        if flags.intersects(Oflag::ONLRET | Oflag::ONLCR) {
            self.column = 0;
        }
        self.line_column = self.column;
        if flags.contains(Oflag::ONLCR) {
            self.bytes.push_back(b'\r');
        }
        self.bytes.push_back(b'\n');
    }

    fn carriage_return(&mut self, flags: Oflag) {
        if flags.contains(Oflag::ONOCR) && self.column == 0 {
            return;
        }
        let out = if flags.contains(Oflag::OCRNL) {
            if flags.contains(Oflag::ONLRET) {
                self.column = 0;
            }
            b'\n'
        } else {
            self.column = 0;
            b'\r'
        };
        self.line_column = self.column;
        self.bytes.push_back(out);
    }
}
