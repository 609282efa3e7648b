//! What must go so that a snapshot fits: decided here, done elsewhere.

use std::collections::BTreeMap;

/// A snapshot, as far as room is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<K> {
    /// Which.
    pub key: K,
    /// How much room it takes.
    pub bytes: u64,
    /// When it was last used, in any unit that grows.
    pub used: u64,
    /// What it lies over, and cannot do without.
    pub base: Option<K>,
}

/// A snapshot that comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming<K> {
    /// How much room it takes.
    pub bytes: u64,
    /// What it lies over.
    pub base: Option<K>,
}

/// It does not fit even if everything else goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a snapshot of {bytes} bytes does not fit into the budget of {budget} bytes")]
pub struct NoRoom {
    /// What it needs.
    pub bytes: u64,
    /// What there may be in all.
    pub budget: u64,
}

/// Which of `entries` to remove, in this order, so that they and `incoming` fit into `budget`: those
/// that were not used for longest, and of equally old ones the larger; but none that another one which
/// stays, or `incoming`, lies over.
///
/// # Errors
/// When it does not fit even so.
pub fn decide_evictions<K: Clone + Ord>(
    entries: &[Entry<K>],
    incoming: &Incoming<K>,
    budget: u64,
) -> Result<Vec<K>, NoRoom> {
    let no_room = NoRoom {
        bytes: incoming.bytes,
        budget,
    };
    if incoming.bytes > budget {
        return Err(no_room);
    }
    let sum = |all: u64, entry: &Entry<K>| all.saturating_add(entry.bytes);
    let mut held = entries.iter().fold(incoming.bytes, sum);
    let mut oldest: Vec<&Entry<K>> = entries.iter().collect();
    oldest.sort_by(|a, b| {
        let by_age = a.used.cmp(&b.used).then(b.bytes.cmp(&a.bytes));
        by_age.then_with(|| a.key.cmp(&b.key))
    });
    let mut needed: BTreeMap<&K, usize> = BTreeMap::new();
    let bases = entries.iter().filter_map(|entry| entry.base.as_ref());
    for base in bases.chain(&incoming.base) {
        *needed.entry(base).or_default() += 1;
    }
    let mut going = Vec::new();
    while held > budget {
        let free = |entry: &&Entry<K>| needed.get(&entry.key).is_none_or(|count| *count == 0);
        let Some(at) = oldest.iter().position(free) else {
            return Err(no_room);
        };
        let entry = oldest.remove(at);
        if let Some(count) = entry.base.as_ref().and_then(|base| needed.get_mut(base)) {
            *count -= 1;
        }
        held = held.saturating_sub(entry.bytes);
        going.push(entry.key.clone());
    }
    Ok(going)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry<K>(key: K, bytes: u64, used: u64, base: Option<K>) -> Entry<K> {
        Entry {
            key,
            bytes,
            used,
            base,
        }
    }

    fn decide(entries: &[Entry<char>], bytes: u64, budget: u64) -> Result<Vec<char>, NoRoom> {
        decide_evictions(entries, &Incoming { bytes, base: None }, budget)
    }

    #[test]
    fn the_longest_unused_go_first_and_no_more_than_needed() {
        let entry = |key, bytes, used| entry(key, bytes, used, None);
        let entries = [entry('a', 10, 5), entry('b', 10, 1), entry('c', 30, 1)];
        assert_eq!(decide(&entries, 10, 60), Ok(vec![]));
        assert_eq!(decide(&entries, 11, 60), Ok(vec!['c']));
        assert_eq!(decide(&entries, 41, 60), Ok(vec!['c', 'b']));
        assert_eq!(decide(&entries, 60, 60), Ok(vec!['c', 'b', 'a']));
        assert!(decide(&entries, 61, 60).is_err());
    }

    #[test]
    fn what_others_lie_over_goes_after_them() {
        let entries = [
            entry('t', 30, 0, None),
            entry('a', 10, 1, Some('t')),
            entry('b', 10, 2, Some('t')),
            entry('c', 10, 3, None),
        ];
        assert_eq!(decide(&entries, 10, 60), Ok(vec!['a']));
        assert_eq!(decide(&entries, 30, 60), Ok(vec!['a', 'b', 't']));
        assert_eq!(decide(&entries, 60, 60), Ok(vec!['a', 'b', 't', 'c']));
        let over = |bytes| Incoming {
            bytes,
            base: Some('t'),
        };
        assert_eq!(
            decide_evictions(&entries, &over(30), 60),
            Ok(vec!['a', 'b', 'c'])
        );
        assert!(decide_evictions(&entries, &over(31), 60).is_err());
    }

    proptest! {
        #[test]
        fn what_is_left_fits_and_has_what_it_needs(
            entries in proptest::collection::vec((0u64..100, 0u64..10, 0usize..40), 0..20),
            incoming in 0u64..300,
            budget in 0u64..300,
        ) {
            let entries: Vec<_> = entries
                .iter()
                .enumerate()
                .map(|(key, (bytes, used, base))| {
                    // An older one, or none.
                    entry(key, *bytes, *used, Some(*base).filter(|base| *base < key))
                })
                .collect();
            let coming = Incoming { bytes: incoming, base: None };
            match decide_evictions(&entries, &coming, budget) {
                Err(_) => prop_assert!(incoming > budget),
                Ok(going) => {
                    let left: Vec<_> = entries.iter().filter(|entry| !going.contains(&entry.key)).collect();
                    prop_assert!(left.iter().map(|entry| entry.bytes).sum::<u64>() + incoming <= budget);
                    for base in left.iter().filter_map(|entry| entry.base) {
                        prop_assert!(left.iter().any(|entry| entry.key == base));
                    }
                }
            }
        }
    }
}
