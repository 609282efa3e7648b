//! Cuts a stream of bytes into lines.

/// Longest line in bytes: what a log event of CloudWatch may have. Longer ones are cut into several, with [`CUT`] where
/// they were.
const MAX_LINE: usize = 256 * 1024;
/// Says that a line was cut here.
const CUT: &[u8] = b" [cut]";

/// The beginning of a line whose end has not come yet.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    /// Adds bytes and gives each line that is complete, without its end.
    pub(crate) fn push(&mut self, mut bytes: &[u8], mut line: impl FnMut(&[u8])) {
        while !bytes.is_empty() {
            let room = MAX_LINE - self.partial.len();
            let end = bytes.iter().take(room).position(|byte| *byte == b'\n');
            match end {
                Some(at) if self.partial.is_empty() => line(&bytes[..at]),
                Some(at) => self.end_with(&[&bytes[..at]], &mut line),
                None if bytes.len() >= room => self.end_with(&[&bytes[..room], CUT], &mut line),
                None => self.partial.extend_from_slice(bytes),
            }
            let taken = end.map_or(room, |at| at + 1).min(bytes.len());
            bytes = &bytes[taken..];
        }
    }

    /// Gives what there is with these parts behind it.
    fn end_with(&mut self, parts: &[&[u8]], line: &mut impl FnMut(&[u8])) {
        parts
            .iter()
            .for_each(|part| self.partial.extend_from_slice(part));
        line(&self.partial);
        self.partial.clear();
    }

    /// Gives what has no line end and will get none.
    pub(crate) fn finish(&mut self, mut line: impl FnMut(&[u8])) {
        if !self.partial.is_empty() {
            line(&self.partial);
            self.partial.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_do_not_depend_on_how_bytes_come() {
        let text = b"one\n\ntwo three\nfour";
        for size in 1..text.len() {
            let (mut lines, mut got) = (Lines::default(), Vec::new());
            for part in text.chunks(size) {
                lines.push(part, |line| got.push(line.to_vec()));
            }
            lines.finish(|line| got.push(line.to_vec()));
            assert_eq!(got, [&b"one"[..], b"", b"two three", b"four"]);
        }
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let (mut lines, mut count) = (Lines::default(), 0);
        lines.push(&vec![b'x'; 10 * MAX_LINE], |line| {
            assert_eq!(line.len(), MAX_LINE + CUT.len());
            assert!(line.ends_with(CUT));
            count += 1;
        });
        lines.push(b"\n", |line| assert_eq!(line, b""));
        assert_eq!(count, 10);
    }

    #[test]
    fn a_record_of_the_longest_is_one() {
        let (mut lines, mut got) = (Lines::default(), Vec::new());
        let text = vec![b'x'; MAX_LINE - 1];
        for part in text.chunks(60_000).chain([&b"\n"[..]]) {
            lines.push(part, |line| got.push(line.len()));
        }
        assert_eq!(got, [MAX_LINE - 1]);
    }
}
