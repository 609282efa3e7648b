//! What must go so that a snapshot fits: decided here, done elsewhere.

/// A snapshot, as far as room is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<K> {
    /// Which.
    pub key: K,
    /// How much room it takes.
    pub bytes: u64,
    /// When it was last used, in any unit that grows.
    pub used: u64,
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

/// Which of `entries` to remove, so that they and `incoming` bytes more fit into `budget`: those
/// that were not used for longest, and of equally old ones the larger.
///
/// # Errors
/// When `incoming` alone is too large.
pub fn decide_evictions<K: Clone + Ord>(
    entries: &[Entry<K>],
    incoming: u64,
    budget: u64,
) -> Result<Vec<K>, NoRoom> {
    if incoming > budget {
        return Err(NoRoom {
            bytes: incoming,
            budget,
        });
    }
    let sum = |all: u64, entry: &Entry<K>| all.saturating_add(entry.bytes);
    let mut held = entries.iter().fold(incoming, sum);
    let mut oldest: Vec<&Entry<K>> = entries.iter().collect();
    oldest.sort_by(|a, b| {
        let by_age = a.used.cmp(&b.used).then(b.bytes.cmp(&a.bytes));
        by_age.then_with(|| a.key.cmp(&b.key))
    });
    let mut going = Vec::new();
    for entry in oldest {
        if held <= budget {
            break;
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

    #[test]
    fn the_longest_unused_go_first_and_no_more_than_needed() {
        let entry = |key, bytes, used| Entry { key, bytes, used };
        let entries = [entry('a', 10, 5), entry('b', 10, 1), entry('c', 30, 1)];
        assert_eq!(decide_evictions(&entries, 10, 60), Ok(vec![]));
        assert_eq!(decide_evictions(&entries, 11, 60), Ok(vec!['c']));
        assert_eq!(decide_evictions(&entries, 41, 60), Ok(vec!['c', 'b']));
        assert_eq!(decide_evictions(&entries, 60, 60), Ok(vec!['c', 'b', 'a']));
        assert!(decide_evictions(&entries, 61, 60).is_err());
    }

    proptest! {
        #[test]
        fn what_is_left_fits(
            entries in proptest::collection::vec((0u64..100, 0u64..10), 0..20),
            incoming in 0u64..300,
            budget in 0u64..300,
        ) {
            let entries: Vec<_> = entries
                .iter()
                .enumerate()
                .map(|(key, (bytes, used))| Entry { key, bytes: *bytes, used: *used })
                .collect();
            match decide_evictions(&entries, incoming, budget) {
                Err(_) => prop_assert!(incoming > budget),
                Ok(going) => {
                    let left = entries.iter().filter(|entry| !going.contains(&entry.key));
                    prop_assert!(left.map(|entry| entry.bytes).sum::<u64>() + incoming <= budget);
                }
            }
        }
    }
}
