//! Which names of a tree are shown.

use std::sync::Arc;

/// What of a directory is shown.
#[derive(Clone, Debug)]
pub enum Filter {
    /// Everything below.
    All,
    /// Only these names, each with what is shown below it. A name may end in `*` for any ending.
    Only(Arc<Vec<(Vec<u8>, Filter)>>),
}

impl Filter {
    /// From `/`-separated paths below the root: a path shows everything at and below it.
    #[must_use]
    pub fn paths(paths: &[&str]) -> Filter {
        let mut names: Vec<(Vec<u8>, Vec<&str>)> = Vec::new();
        for path in paths {
            let (first, rest) = path.split_once('/').unwrap_or((path, ""));
            match names.iter_mut().find(|(n, _)| n == first.as_bytes()) {
                Some((_, below)) => below.push(rest),
                None => names.push((first.as_bytes().to_vec(), vec![rest])),
            }
        }
        let shown = names.into_iter().map(|(name, below)| {
            let filter = if below.contains(&"") {
                Filter::All
            } else {
                Filter::paths(&below)
            };
            (name, filter)
        });
        Filter::Only(Arc::new(shown.collect()))
    }

    /// The names that are shown, as they were given; none where everything is.
    pub(crate) fn names(&self) -> impl Iterator<Item = &[u8]> {
        let only = match self {
            Filter::All => &[][..],
            Filter::Only(shown) => shown,
        };
        only.iter().map(|(name, _)| name.as_slice())
    }

    /// What is shown below a name; `None` when the name is not.
    pub(crate) fn child(&self, name: &[u8]) -> Option<Filter> {
        let Filter::Only(shown) = self else {
            return Some(Filter::All);
        };
        let matches = |pattern: &[u8]| match pattern.strip_suffix(b"*") {
            Some(start) => name.starts_with(start),
            None => name == pattern,
        };
        let hit = shown.iter().find(|(pattern, _)| matches(pattern));
        hit.map(|(_, below)| below.clone())
    }
}
