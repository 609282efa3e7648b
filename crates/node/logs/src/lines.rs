//! Cuts a stream of bytes into lines.

/// Longest line in bytes; longer ones are cut into several.
const MAX_LINE: usize = 16 * 1024;

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
            let (now, later, ended) = match end {
                Some(at) => (&bytes[..at], &bytes[at + 1..], true),
                None if bytes.len() >= room => (&bytes[..room], &bytes[room..], true),
                None => (bytes, &[][..], false),
            };
            bytes = later;
            match (ended, self.partial.is_empty()) {
                (true, true) => line(now),
                (true, false) => {
                    self.partial.extend_from_slice(now);
                    line(&self.partial);
                    self.partial.clear();
                }
                (false, _) => self.partial.extend_from_slice(now),
            }
        }
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
            assert_eq!(line.len(), MAX_LINE);
            count += 1;
        });
        assert_eq!(count, 10);
    }
}
