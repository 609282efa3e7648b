//! Faults that come in a row: how many pages the next one brings along.
//!
//! Memory is mostly written from its start to its end. Whoever does that, in several places at once perhaps, gets twice as
//! many pages with each fault; whoever writes here and there gets no more than the least.

use crate::layout::PAGE;

/// Places that are remembered.
const PLACES: usize = 8;
/// A fault so many pages after the expected one is still in a row: allocators leave headers and odd ends.
const NEAR: u64 = 4;
/// Doublings after which a count is of no more interest.
const LONGEST: u32 = 16;

/// A place where faults may come in a row.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// Where the next fault is expected: behind what the last one brought.
    next: u64,
    /// How many came in a row.
    run: u32,
}

/// The last places of an address space, the latest first.
#[derive(Debug, Default)]
pub(crate) struct Streams([Place; PLACES]);

impl Streams {
    /// How many faults in a row led to this one.
    pub(crate) fn fault(&mut self, page: u64) -> u32 {
        let in_row =
            |place: &Place| place.next != 0 && page.wrapping_sub(place.next) <= NEAR * PAGE;
        let known = self.0.iter().position(in_row);
        let run = known
            .and_then(|at| self.0.get(at))
            .map_or(0, |place| (place.run + 1).min(LONGEST));
        let upto = known.map_or(PLACES, |at| at + 1);
        if let Some(moved) = self.0.get_mut(..upto) {
            moved.rotate_right(1);
        }
        if let Some(first) = self.0.first_mut() {
            *first = Place {
                next: page + PAGE,
                run,
            };
        }
        run
    }

    /// What the last fault brought ends here.
    pub(crate) fn brought(&mut self, end: u64) {
        if let Some(first) = self.0.first_mut() {
            first.next = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_in_a_row_are_counted_in_several_places() {
        let mut streams = Streams::default();
        for n in 0..20 {
            for place in 1..=PLACES as u64 {
                let page = (place << 30) + n * 10 * PAGE;
                assert_eq!(streams.fault(page), (n as u32).min(LONGEST));
                streams.brought(page + 8 * PAGE);
            }
        }
    }

    #[test]
    fn faults_here_and_there_are_not() {
        let mut streams = Streams::default();
        for page in [1, 70, 100, 30, 99, 50, 20, 1 << 30, 1] {
            assert_eq!(streams.fault(page * PAGE), 0, "{page}");
        }
        // One place more than there are: each is forgotten before it is seen again.
        for page in 0..64 {
            let place = page % (PLACES as u64 + 1);
            assert_eq!(streams.fault((place << 30) + page / 9 * PAGE), 0);
        }
    }

    #[test]
    fn a_row_ends_with_a_gap() {
        let mut streams = Streams::default();
        assert_eq!(streams.fault(100 * PAGE), 0);
        assert_eq!(streams.fault(101 * PAGE), 1);
        assert_eq!(streams.fault((102 + NEAR) * PAGE), 2);
        assert_eq!(streams.fault((104 + 2 * NEAR) * PAGE), 0);
    }
}
