//! The tree that a zip describes, checked before a byte of it is written.
//!
//! Every name is taken apart and put into a tree of plain components; symlinks are followed in
//! this tree only, never on the host. What passes cannot name anything outside its root.

use std::collections::BTreeMap;

use crate::error::UnpackError;

/// Longest name of one component in bytes (`NAME_MAX`).
const COMPONENT_BYTES: usize = 255;
/// Longest whole name in bytes; leaves room for the prefix within `PATH_MAX`.
const PATH_BYTES: usize = 3072;
/// Deepest nesting of directories.
const DEPTH: usize = 128;
/// Most symlinks followed for one name, as Linux has it (`MAXSYMLINKS`).
const LINKS_FOLLOWED: usize = 40;

/// What lies at a name.
#[derive(Debug)]
pub(crate) enum TreeNode {
    /// A directory with its entries.
    Directory(BTreeMap<Vec<u8>, TreeNode>),
    /// A file: its index in the archive, and whether anyone may execute it.
    File {
        /// Index in the archive.
        index: usize,
        /// Permission bits: 755 or 644.
        executable: bool,
    },
    /// A symlink with its target.
    Link(Vec<u8>),
}

impl TreeNode {
    /// An empty directory.
    pub(crate) fn root() -> Self {
        Self::Directory(BTreeMap::new())
    }

    /// Puts `leaf` at `name`, making the directories on the way.
    ///
    /// A directory may be named again; anything else at a name that is taken is refused, and so is
    /// a name that leads through a file or a symlink.
    pub(crate) fn insert(&mut self, name: &[u8], leaf: TreeNode) -> Result<(), UnpackError> {
        let unsafe_name = || UnpackError::UnsafeName { name: shown(name) };
        let components = components(name).ok_or_else(unsafe_name)?;
        let conflict = || UnpackError::Conflict { name: shown(name) };
        let mut here = self;
        let Some((last, parents)) = components.split_last() else {
            // The root itself, as "./": fine for a directory only.
            return if matches!(leaf, Self::Directory(_)) {
                Ok(())
            } else {
                Err(unsafe_name())
            };
        };
        for parent in parents {
            let Self::Directory(entries) = here else {
                return Err(conflict());
            };
            here = entries.entry(parent.to_vec()).or_insert_with(Self::root);
        }
        let Self::Directory(entries) = here else {
            return Err(conflict());
        };
        match (entries.get(*last), &leaf) {
            (None, _) => {
                entries.insert(last.to_vec(), leaf);
                Ok(())
            }
            (Some(Self::Directory(_)), Self::Directory(_)) => Ok(()),
            _ => Err(conflict()),
        }
    }

    /// Checks that no symlink leads out of the root, whichever other symlinks it passes.
    pub(crate) fn check_links(&self) -> Result<(), UnpackError> {
        let mut todo = vec![(Vec::new(), self)];
        while let Some((path, node)) = todo.pop() {
            match node {
                Self::File { .. } => {}
                Self::Directory(entries) => todo.extend(entries.iter().map(|(name, child)| {
                    let mut path = path.clone();
                    path.push(name.as_slice());
                    (path, child)
                })),
                Self::Link(target) => {
                    let directory = path.split_last().map_or(&[][..], |(_, parents)| parents);
                    if !self.stays_inside(directory, target) {
                        let name = shown(&path.join(&b'/'));
                        return Err(UnpackError::UnsafeLink {
                            name,
                            target: shown(target),
                        });
                    }
                }
            }
        }
        Ok(())
    }

    /// Follows `target` from `directory` as Linux would. Names that do not exist are taken for
    /// directories: what is created there later lies inside as well.
    fn stays_inside(&self, directory: &[&[u8]], target: &[u8]) -> bool {
        let mut here: Vec<&[u8]> = directory.to_vec();
        let mut rest: Vec<&[u8]> = Vec::new();
        let mut followed = 0;
        if !push_target(&mut rest, target) {
            return false;
        }
        while let Some(component) = rest.pop() {
            match component {
                b"" | b"." => {}
                b".." => {
                    if here.pop().is_none() {
                        return false;
                    }
                }
                name => {
                    here.push(name);
                    if let Some(Self::Link(inner)) = self.find(&here) {
                        here.pop();
                        followed += 1;
                        // A loop is harmless: opening it fails with ELOOP.
                        if followed > LINKS_FOLLOWED {
                            return true;
                        }
                        if !push_target(&mut rest, inner) {
                            return false;
                        }
                    }
                }
            }
            // Links that name one another cannot make this long: each adds at most its own length.
            if here.len() > DEPTH * LINKS_FOLLOWED {
                return false;
            }
        }
        true
    }

    fn find(&self, path: &[&[u8]]) -> Option<&Self> {
        path.iter().try_fold(self, |node, name| match node {
            Self::Directory(entries) => entries.get(*name),
            Self::File { .. } | Self::Link(_) => None,
        })
    }
}

/// Puts the components of a link's target onto a stack; false if it is absolute or too long.
fn push_target<'a>(rest: &mut Vec<&'a [u8]>, target: &'a [u8]) -> bool {
    if target.is_empty() || target[0] == b'/' || target.len() > PATH_BYTES || target.contains(&0) {
        return false;
    }
    rest.extend(target.split(|byte| *byte == b'/').rev());
    true
}

/// The components of a name; `None` if it is absolute, climbs, or cannot be a path.
fn components(name: &[u8]) -> Option<Vec<&[u8]>> {
    if name.is_empty() || name[0] == b'/' || name.len() > PATH_BYTES || name.contains(&0) {
        return None;
    }
    let parts: Vec<&[u8]> = name
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .collect();
    let fine = parts.len() <= DEPTH
        && parts
            .iter()
            .all(|part| *part != b".." && part.len() <= COMPONENT_BYTES);
    fine.then_some(parts)
}

/// A name for an error message: readable and not endless.
fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(&name[..name.len().min(200)])
        .escape_debug()
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(entries: &[(&str, Option<&str>)]) -> Result<TreeNode, UnpackError> {
        let mut root = TreeNode::root();
        for (index, (name, target)) in entries.iter().enumerate() {
            let leaf = match target {
                Some(target) => TreeNode::Link(target.as_bytes().to_vec()),
                None if name.ends_with('/') => TreeNode::root(),
                None => TreeNode::File {
                    index,
                    executable: false,
                },
            };
            root.insert(name.as_bytes(), leaf)?;
        }
        root.check_links()?;
        Ok(root)
    }

    #[test]
    fn names_that_leave_the_root_are_refused() {
        for name in ["../x", "a/../../x", "a/..", "/etc/passwd", "", "a\0b", ".."] {
            assert!(
                matches!(tree(&[(name, None)]), Err(UnpackError::UnsafeName { .. })),
                "{name:?}"
            );
        }
        assert!(
            tree(&[
                ("./a//b/./c", None),
                ("a/", None),
                ("a/b/", None),
                ("./", None)
            ])
            .is_ok()
        );
    }

    #[test]
    fn a_name_cannot_lead_through_a_file_or_a_link() {
        assert!(matches!(
            tree(&[("a", None), ("a/b", None)]),
            Err(UnpackError::Conflict { .. })
        ));
        assert!(matches!(
            tree(&[("a", Some("b")), ("a/c", None)]),
            Err(UnpackError::Conflict { .. })
        ));
        assert!(matches!(
            tree(&[("a/b", None), ("a", Some("c"))]),
            Err(UnpackError::Conflict { .. })
        ));
    }

    #[test]
    fn links_stay_inside_even_through_other_links() {
        tree(&[
            ("lib/x.so", Some("x.so.1")),
            ("lib/x.so.1", None),
            ("bin/x", Some("../lib/x.so")),
        ])
        .unwrap();
        tree(&[("loop", Some("loop")), ("missing", Some("not/there"))]).unwrap();
        for escape in [
            vec![("a", Some("/etc/passwd"))],
            vec![("a", Some(".."))],
            vec![("d/a", Some("../../x"))],
            // p/q/r leads to the root, so its parent is outside although the text looks harmless.
            vec![("p/q/r", Some("../..")), ("l", Some("p/q/r/../x"))],
        ] {
            assert!(
                matches!(tree(&escape), Err(UnpackError::UnsafeLink { .. })),
                "{escape:?}"
            );
        }
    }
}
