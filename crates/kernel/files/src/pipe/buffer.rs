//! The bytes in a pipe: a ring of pages filled and merged as pipe(7) describes.

use std::collections::VecDeque;

/// Bytes in a page, which is also `PIPE_BUF`: writes up to this are not split.
pub(super) const PAGE: usize = 4096;

/// Slots that bytes which came back may take beyond the ring's own: as many as one read empties (256 KiB). What several readers
/// without memory give back beyond that is lost.
pub(super) const BEYOND: usize = 64;

/// What a write becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// A stream of bytes.
    Stream,
    /// `O_DIRECT`: each write of up to a page is a packet of its own.
    Packets,
}

#[derive(Clone, Debug)]
struct Page {
    data: Vec<u8>,
    start: usize,
    framing: Framing,
}

impl Page {
    fn bytes(&self) -> &[u8] {
        self.data.get(self.start..).unwrap_or_default()
    }
}

/// Pages in order, at most `slots` of them.
#[derive(Clone, Debug)]
pub(super) struct Buffer {
    pages: VecDeque<Page>,
    slots: usize,
    len: usize,
}

impl Buffer {
    pub(super) fn new(slots: usize) -> Buffer {
        Buffer {
            pages: VecDeque::new(),
            slots,
            len: 0,
        }
    }

    pub(super) fn slots(&self) -> usize {
        self.slots
    }

    /// Changes the ring's size; false when more slots are in use.
    pub(super) fn set_slots(&mut self, slots: usize) -> bool {
        let fits = self.pages.len() <= slots;
        if fits {
            self.slots = slots;
        }
        fits
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.pages.len() >= self.slots
    }

    /// Appends what fits; the first part may join the last page when it fits there whole, as Linux does.
    pub(super) fn push(&mut self, data: &[u8], framing: Framing) -> usize {
        let mut rest = data;
        let odd = data.len() % PAGE;
        if odd > 0
            && framing == Framing::Stream
            && let Some(last) = self.pages.back_mut()
            && last.framing == Framing::Stream
            && last.data.len() + odd <= PAGE
        {
            let (head, tail) = data.split_at(odd);
            last.data.extend_from_slice(head);
            self.len += odd;
            rest = tail;
        }
        while !rest.is_empty() && !self.is_full() {
            let (page, tail) = rest.split_at(rest.len().min(PAGE));
            self.pages.push_back(Page {
                data: page.to_vec(),
                start: 0,
                framing,
            });
            self.len += page.len();
            rest = tail;
        }
        data.len() - rest.len()
    }

    /// Takes up to `buf.len()` bytes, or one packet whose excess is lost.
    pub(super) fn pop(&mut self, buf: &mut [u8]) -> usize {
        let mut done = 0;
        while let Some(room) = buf.get_mut(done..).filter(|room| !room.is_empty()) {
            let Some(page) = self.pages.front() else {
                break;
            };
            let packet = page.framing == Framing::Packets;
            let n = page.bytes().len().min(room.len());
            if let (Some(to), Some(from)) = (room.get_mut(..n), page.bytes().get(..n)) {
                to.copy_from_slice(from);
            }
            done += n;
            if packet {
                self.drop_page();
                break;
            }
            self.consume(n);
        }
        done
    }

    /// Takes back bytes that were popped last; they may need [more slots](BEYOND) than there are until they are popped again.
    pub(super) fn unpop(&mut self, bytes: &[u8]) {
        if self.pages.len() + bytes.len().div_ceil(PAGE) > self.slots + BEYOND {
            return;
        }
        let framing = self.pages.front().map_or(Framing::Stream, |p| p.framing);
        for page in bytes.rchunks(PAGE) {
            self.len += page.len();
            self.pages.push_front(Page {
                data: page.to_vec(),
                start: 0,
                framing,
            });
        }
    }

    /// The bytes of the first page.
    pub(super) fn front(&self) -> Option<&[u8]> {
        self.pages.front().map(Page::bytes)
    }

    /// Each page's bytes and framing, oldest first (tee(2)).
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], Framing)> {
        self.pages.iter().map(|p| (p.bytes(), p.framing))
    }

    /// Removes `n` bytes of the first page.
    pub(super) fn consume(&mut self, n: usize) {
        let Some(page) = self.pages.front_mut() else {
            return;
        };
        let n = n.min(page.bytes().len());
        page.start += n;
        self.len -= n;
        if page.bytes().is_empty() {
            self.pages.pop_front();
        }
    }

    /// A page as it was saved.
    pub(super) fn push_page(&mut self, data: Vec<u8>, packet: bool) {
        self.len += data.len();
        self.pages.push_back(Page {
            data,
            start: 0,
            framing: if packet {
                Framing::Packets
            } else {
                Framing::Stream
            },
        });
    }

    fn drop_page(&mut self) {
        if let Some(page) = self.pages.pop_front() {
            self.len -= page.bytes().len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_writes_merge_and_fill_every_byte() {
        let mut buffer = Buffer::new(2);
        let mut written = 0;
        while buffer.push(&[7], Framing::Stream) == 1 {
            written += 1;
        }
        assert_eq!(written, 2 * PAGE);
        assert_eq!(buffer.len(), 2 * PAGE);
    }

    #[test]
    fn a_full_page_takes_a_slot_even_after_a_short_one() {
        let mut buffer = Buffer::new(2);
        assert_eq!(buffer.push(&[1], Framing::Stream), 1);
        assert_eq!(buffer.push(&[2; PAGE], Framing::Stream), PAGE);
        assert_eq!(buffer.push(&[3; PAGE], Framing::Stream), 0);
    }

    #[test]
    fn a_packet_is_read_alone_and_its_excess_lost() {
        let mut buffer = Buffer::new(4);
        buffer.push(b"abc", Framing::Packets);
        buffer.push(b"de", Framing::Packets);
        let mut out = [0; 2];
        assert_eq!((buffer.pop(&mut out), &out), (2, b"ab"));
        let mut out = [0; 9];
        assert_eq!(buffer.pop(&mut out), 2);
        assert!(buffer.is_empty());
        assert_eq!(buffer.len(), 0);
    }
}
