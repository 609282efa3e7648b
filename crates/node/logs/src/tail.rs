//! The last bytes of an event's log, for `X-Amz-Log-Result`.

use proto_node::{LOG_TAIL_BYTES, tail_of};

/// Keeps the end of what is pushed, in bounded memory.
#[derive(Debug, Default)]
pub(crate) struct Tail(Vec<u8>);

impl Tail {
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn push_line(&mut self, line: &[u8]) {
        self.0.extend_from_slice(tail_of(line));
        self.0.push(b'\n');
        // Cut seldom, so that a long log costs one copy per byte.
        if self.0.len() > 4 * LOG_TAIL_BYTES {
            let cut = self.0.len() - LOG_TAIL_BYTES;
            self.0.drain(..cut);
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        tail_of(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_survives_a_flood() {
        let mut tail = Tail::default();
        for n in 0..100_000 {
            tail.push_line(format!("line {n}").as_bytes());
        }
        assert_eq!(tail.bytes().len(), LOG_TAIL_BYTES);
        assert!(tail.bytes().ends_with(b"line 99998\nline 99999\n"));
        assert!(tail.0.capacity() < 100_000);
    }
}
