//! Short words for the nodes that this crate is made of, over [`kernel_fs::synthetic`].

use std::sync::Arc;

use kernel_fs::synthetic::Text;
pub(crate) use kernel_fs::synthetic::{Directory, Fixed, Node, SyntheticFs};
use kernel_vfs::{FileType, Result};

/// A text anybody may read.
pub(crate) fn text(make: impl Fn() -> Result<String> + Send + Sync + 'static) -> Node {
    bytes(move || make().map(String::into_bytes))
}

/// Bytes anybody may read.
pub(crate) fn bytes(make: impl Fn() -> Result<Vec<u8>> + Send + Sync + 'static) -> Node {
    Node::text(0o444, make)
}

/// A line that never changes.
pub(crate) fn line(text: impl Into<String>) -> Node {
    let mut text = text.into();
    text.push('\n');
    Node::fixed(text)
}

/// A link whose target never changes.
pub(crate) fn link(target: &'static str) -> Node {
    Node::link(move || Ok(target.as_bytes().to_vec()))
}

/// A directory of fixed names.
pub(crate) fn table(entries: Vec<(&'static str, Node)>) -> Node {
    Node::directory(fixed(entries))
}

/// The same where `st_nlink` says nothing: 1 in all of `/proc/sys`.
pub(crate) fn uncounted(entries: Vec<(&'static str, Node)>) -> Node {
    Node::directory(Uncounted(fixed(entries)))
}

struct Uncounted(Fixed);

impl Directory for Uncounted {
    fn lookup(&self, name: &[u8]) -> Result<Node> {
        self.0.lookup(name)
    }

    fn list(&self, emit: &mut dyn FnMut(&[u8], FileType)) -> Result<()> {
        self.0.list(emit)
    }

    fn links(&self) -> u64 {
        1
    }

    fn volatile(&self) -> bool {
        self.0.volatile()
    }
}

/// The names themselves, for directories that add more.
pub(crate) fn fixed(entries: Vec<(&'static str, Node)>) -> Fixed {
    let add = |all: Fixed, (name, node): (&str, Node)| all.with(name, node);
    entries.into_iter().fold(Fixed::new(), add)
}

type Make = dyn Fn() -> Result<String> + Send + Sync;
type Take = dyn Fn(&[u8]) -> Result<()> + Send + Sync;

/// A text that its owner may write.
pub(crate) fn writable(
    make: impl Fn() -> Result<String> + Send + Sync + 'static,
    take: impl Fn(&[u8]) -> Result<()> + Send + Sync + 'static,
) -> Node {
    let text = Writable {
        make: Arc::new(make),
        take: Arc::new(take),
    };
    Node::text(0o644, text)
}

struct Writable {
    make: Arc<Make>,
    take: Arc<Take>,
}

impl Text for Writable {
    fn read(&self) -> Result<Vec<u8>> {
        (self.make)().map(String::into_bytes)
    }

    fn write(&self, data: &[u8]) -> Result<()> {
        (self.take)(data)
    }
}
