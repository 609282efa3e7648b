//! Which node gets an event: a pure function of what is known of all of them.
//!
//! In this order: a node that answers before one that is silent; one where an instance of the revision has nothing to
//! do; one that has room; one with a snapshot of it; the one with the least to do; and whose turn it is.

use std::cmp::Reverse;

use crate::health::NodeState;

/// What is known of one node, for one revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NodeView {
    pub(crate) state: NodeState,
    /// Whether it has turned this event away, or lost it.
    pub(crate) tried: bool,
    /// Instances of the revision that wait for an event, as far as is known.
    pub(crate) idle: u32,
    /// Whether new instances of the revision come from a snapshot there.
    pub(crate) snapshot: bool,
    /// Events that it has or that wait there.
    pub(crate) load: u32,
    /// Instances that it may have; 0 where that is not known.
    pub(crate) limit: u32,
}

/// The node for an event, by its place in `views`; none if there is none to ask. `turn` decides between equals.
pub(crate) fn choose(views: &[NodeView], turn: usize) -> Option<usize> {
    let count = views.len();
    let candidates = views
        .iter()
        .enumerate()
        .filter(|(_, view)| !view.tried && view.state != NodeState::Down);
    candidates
        .min_by_key(|(index, view)| {
            let full = view.limit > 0 && view.load >= view.limit;
            (
                view.state != NodeState::Up,
                view.idle == 0,
                full,
                Reverse(view.snapshot),
                view.load,
                (index + count - turn % count.max(1)) % count.max(1),
            )
        })
        .map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_view() -> impl Strategy<Value = NodeView> {
        let state = prop_oneof![
            Just(NodeState::Up),
            Just(NodeState::Suspect),
            Just(NodeState::Down)
        ];
        (
            state,
            any::<bool>(),
            0..3u32,
            any::<bool>(),
            0..9u32,
            0..9u32,
        )
            .prop_map(|(state, tried, idle, snapshot, load, limit)| NodeView {
                state,
                tried,
                idle,
                snapshot,
                load,
                limit,
            })
    }

    proptest! {
        #[test]
        fn what_is_chosen_can_be_asked_and_is_not_worse(
            views in proptest::collection::vec(any_view(), 0..6),
            turn in any::<usize>(),
        ) {
            let usable = |view: &NodeView| !view.tried && view.state != NodeState::Down;
            let Some(chosen) = choose(&views, turn) else {
                prop_assert!(!views.iter().any(usable));
                return Ok(());
            };
            let chosen = views[chosen];
            prop_assert!(usable(&chosen));
            for other in views.iter().filter(|view| usable(view)) {
                let better_state = other.state == NodeState::Up && chosen.state != NodeState::Up;
                prop_assert!(!better_state);
                let same = other.state == chosen.state;
                prop_assert!(!(same && other.idle > 0 && chosen.idle == 0));
                let alike = same && (other.idle == 0) == (chosen.idle == 0);
                let room = |view: &NodeView| view.limit == 0 || view.load < view.limit;
                prop_assert!(!(alike && room(other) && !room(&chosen)));
            }
        }

        #[test]
        fn equal_nodes_take_turns(count in 1..6usize) {
            let view = NodeView {
                state: NodeState::Up, tried: false, idle: 0, snapshot: true, load: 1, limit: 8,
            };
            let views = vec![view; count];
            let chosen: Vec<_> = (0..count).filter_map(|turn| choose(&views, turn)).collect();
            prop_assert_eq!(chosen, (0..count).collect::<Vec<_>>());
        }
    }
}
