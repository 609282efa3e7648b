//! The tree in a snapshot: what is its own, what of the layers was changed, what is hidden.
//!
//! Nodes that began in a layer are found again by their place there; nothing of a layer's contents is kept.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use kernel_vfs::save::{LoadError, Unsavable, decode, encode};
use kernel_vfs::{Errno, FileType, Whence};
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};

use super::content::Content;
use super::node::{Body, Directory, Meta, Node};
use super::{Shared, TmpFs};

const MAX_NODES: usize = 1 << 20;
const CHUNK: u64 = 256 << 10;

type Index = u32;

#[derive(Serialize, Deserialize)]
struct TreeState {
    dev: u64,
    next_ino: u64,
    /// The first is the root.
    nodes: Vec<NodeState>,
}

#[derive(Serialize, Deserialize)]
struct NodeState {
    ino: u64,
    /// Place in the layers of what began there.
    lower: Option<Vec<u8>>,
    meta: Meta,
    body: BodyState,
}

#[derive(Serialize, Deserialize)]
enum BodyState {
    /// Names of the tree's own, names hidden.
    Directory(Vec<(Vec<u8>, Index)>, Vec<Vec<u8>>),
    Regular(Option<ContentState>),
    Symlink(Vec<u8>),
    Special(u32, u64),
}

#[derive(Serialize, Deserialize)]
struct ContentState {
    size: u64,
    /// Ranges with data; the rest are holes.
    data: Vec<(u64, Vec<u8>)>,
}

pub(super) fn save(fs: &TmpFs) -> Result<Vec<u8>, Unsavable> {
    let mut all = vec![Arc::clone(&fs.root)];
    all.extend(fs.shared.changed());
    let mut numbers = HashMap::new();
    for (number, node) in (0..).zip(&all) {
        numbers.insert(Arc::as_ptr(node) as usize, number);
    }
    let mut states = Vec::new();
    while let Some(node) = all.get(states.len()).cloned() {
        let mut number = |child: &Arc<Node>| {
            let next = Index::try_from(all.len()).unwrap_or(Index::MAX);
            let number = *numbers.entry(Arc::as_ptr(child) as usize).or_insert(next);
            if number == next {
                all.push(Arc::clone(child));
            }
            number
        };
        states.push(node_state(&node, &mut number)?);
        if all.len() > MAX_NODES {
            return Err(Unsavable::new("too many files"));
        }
    }
    encode(&TreeState {
        dev: fs.shared.dev(),
        next_ino: fs.shared.next_ino.load(Ordering::Relaxed),
        nodes: states,
    })
}

fn node_state(
    node: &Node,
    number: &mut dyn FnMut(&Arc<Node>) -> Index,
) -> Result<NodeState, Unsavable> {
    let body = match &node.body {
        Body::Directory(directory) => {
            let (own, hidden) = directory.lock().own();
            let own = own.iter().map(|(name, node)| (name.to_vec(), number(node)));
            let hidden = hidden.iter().map(|name| name.to_vec());
            BodyState::Directory(own.collect(), hidden.collect())
        }
        Body::Regular(content) => {
            let content = content.read();
            let failed =
                |errno| Unsavable::new(format!("contents of file {}: {errno}", node.ino()));
            let own = content.is_own();
            BodyState::Regular(
                own.then(|| content_state(&content))
                    .transpose()
                    .map_err(failed)?,
            )
        }
        Body::Symlink(target) => BodyState::Symlink(target.clone()),
        Body::Special(kind, rdev) => BodyState::Special(kind.mode_bits(), *rdev),
    };
    Ok(NodeState {
        ino: node.ino(),
        lower: node.layered.then(|| node.lower_path.clone()),
        meta: node.meta.lock().clone(),
        body,
    })
}

fn content_state(content: &Content) -> Result<ContentState, Errno> {
    let size = content.size();
    let mut data = Vec::new();
    let mut at = 0;
    while at < size {
        let start = match content.seek(at, Whence::Data) {
            Ok(start) => start.max(at),
            Err(Errno::ENXIO) => break,
            Err(error) => return Err(error),
        };
        let hole = content.seek(start, Whence::Hole)?;
        let len = hole.saturating_sub(start).clamp(1, CHUNK);
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        let n = content.read(start, &mut bytes)?;
        if n == 0 {
            break;
        }
        bytes.truncate(n);
        data.push((start, bytes));
        at = start + n as u64;
    }
    Ok(ContentState { size, data })
}

const WRONG: LoadError = LoadError::Malformed("tree of files");

fn failed(errno: Errno) -> LoadError {
    LoadError::Failed {
        what: String::from("files"),
        errno,
    }
}

pub(super) fn load(fs: &TmpFs, bytes: &[u8]) -> Result<(), LoadError> {
    let state: TreeState = decode(bytes, "tree of files")?;
    if state.nodes.is_empty() || state.nodes.len() > MAX_NODES {
        return Err(WRONG);
    }
    let mut nodes: Vec<Option<Arc<Node>>> = vec![None; state.nodes.len()];
    // What began in the layers is looked up before anything covers it.
    for (slot, saved) in nodes.iter_mut().zip(&state.nodes) {
        if let Some(path) = &saved.lower {
            *slot = Some(in_layers(&fs.root, path)?);
        }
    }
    *nodes.first_mut().ok_or(WRONG)? = Some(Arc::clone(&fs.root));
    let mut load = Load {
        shared: &fs.shared,
        saved: state.nodes,
        nodes,
    };
    load.all()?;
    fs.shared.dev.store(state.dev, Ordering::Relaxed);
    let next = &fs.shared.next_ino;
    next.fetch_max(state.next_ino, Ordering::Relaxed);
    Ok(())
}

fn in_layers(root: &Arc<Node>, path: &[u8]) -> Result<Arc<Node>, LoadError> {
    let mut at = Arc::clone(root);
    for name in path.split(|b| *b == b'/').filter(|n| !n.is_empty()) {
        let found = at
            .entries()
            .and_then(|entries| at.child(&entries.lock(), name));
        at = found.map_err(|_| {
            let path = String::from_utf8_lossy(path);
            LoadError::Differs(format!("no {path} in the image"))
        })?;
    }
    if at.layered { Ok(at) } else { Err(WRONG) }
}

struct Load<'a> {
    shared: &'a Arc<Shared>,
    saved: Vec<NodeState>,
    nodes: Vec<Option<Arc<Node>>>,
}

impl Load<'_> {
    /// From the root and from everything in the layers downwards; each node once.
    fn all(&mut self) -> Result<(), LoadError> {
        let known = self.nodes.iter().enumerate();
        let known = known.filter(|(_, node)| node.is_some());
        let mut queue: VecDeque<usize> = known.map(|(index, _)| index).collect();
        let mut queued: HashSet<usize> = queue.iter().copied().collect();
        while let Some(index) = queue.pop_front() {
            for child in self.fill(index)? {
                if queued.insert(child) {
                    queue.push_back(child);
                }
            }
        }
        Ok(())
    }

    /// Gives a node its contents and attributes; says which nodes it names.
    fn fill(&mut self, index: usize) -> Result<Vec<usize>, LoadError> {
        let node = self.nodes.get(index).cloned().flatten().ok_or(WRONG)?;
        let state = self.saved.get_mut(index).ok_or(WRONG)?;
        let (meta, layered) = (state.meta.clone(), state.lower.is_some());
        let body = std::mem::replace(&mut state.body, BodyState::Regular(None));
        if layered {
            node.changing().map_err(failed)?;
        }
        let mut children = Vec::new();
        match (body, &node.body) {
            (BodyState::Directory(own, hidden), Body::Directory(_)) => {
                children = self.entries(&node, own, &hidden)?;
            }
            (BodyState::Regular(content), Body::Regular(place)) => {
                if let Some(content) = content {
                    fill_content(&mut place.write(), &content)?;
                }
            }
            (BodyState::Symlink(_), Body::Symlink(_))
            | (BodyState::Special(..), Body::Special(..)) => {}
            _ => return Err(WRONG),
        }
        *node.meta.lock() = meta;
        Ok(children)
    }

    fn entries(
        &mut self,
        node: &Arc<Node>,
        own: Vec<(Vec<u8>, Index)>,
        hidden: &[Vec<u8>],
    ) -> Result<Vec<usize>, LoadError> {
        let mut directory = node.entries().map_err(failed)?.lock();
        let wanted: HashSet<&[u8]> = own.iter().map(|(name, _)| name.as_slice()).collect();
        let mut gone = Vec::new();
        for (name, _) in directory.own().0 {
            if !wanted.contains(&name[..]) {
                gone.push(directory.take_out(&name));
            }
        }
        let mut children = Vec::with_capacity(own.len());
        for (name, index) in own {
            let index = usize::try_from(index).map_err(|_| WRONG)?;
            if name.is_empty() || name.len() > kernel_vfs::NAME_MAX || name.contains(&b'/') {
                return Err(WRONG);
            }
            let there = match directory.find(&name) {
                Ok(super::directory::Found::Own(there)) => Some(there),
                _ => None,
            };
            let child = self.node(index, node, there.as_ref())?;
            let same = there.is_some_and(|there| Arc::ptr_eq(&there, &child));
            if !same {
                gone.push(directory.take_out(&name));
                directory.insert(&name, child);
            }
            children.push(index);
        }
        for name in hidden {
            directory.hide(name);
        }
        drop(directory);
        drop(gone);
        Ok(children)
    }

    /// The node of a number: the one that is there already if it fits, or a new one.
    fn node(
        &mut self,
        index: usize,
        parent: &Arc<Node>,
        there: Option<&Arc<Node>>,
    ) -> Result<Arc<Node>, LoadError> {
        let slot = self.nodes.get(index).ok_or(WRONG)?;
        if let Some(known) = slot {
            if index == 0 || known.is_dir() && !known.layered {
                return Err(WRONG);
            }
            return Ok(Arc::clone(known));
        }
        let saved = self.saved.get(index).ok_or(WRONG)?;
        let fits = |node: &&Arc<Node>| !node.layered && same_type(&saved.body, &node.body);
        let node = match there.filter(fits) {
            Some(node) => Arc::clone(node),
            None => {
                let body = self.body(&saved.body, parent)?;
                Node::restored(self.shared, saved.ino, saved.meta.clone(), body).map_err(failed)?
            }
        };
        if let Some(slot) = self.nodes.get_mut(index) {
            *slot = Some(Arc::clone(&node));
        }
        Ok(node)
    }

    fn body(&self, saved: &BodyState, parent: &Arc<Node>) -> Result<Body, LoadError> {
        Ok(match saved {
            BodyState::Directory(..) => {
                let above: Weak<Node> = Arc::downgrade(parent);
                Body::Directory(Mutex::new(Directory::new(above, Vec::new())))
            }
            BodyState::Regular(_) => {
                let budget = self.shared.budget.clone();
                Body::Regular(RwLock::new(Content::empty(budget)))
            }
            BodyState::Symlink(target) => Body::Symlink(target.clone()),
            BodyState::Special(mode, rdev) => {
                Body::Special(FileType::from_mode(*mode).ok_or(WRONG)?, *rdev)
            }
        })
    }
}

fn same_type(saved: &BodyState, body: &Body) -> bool {
    match (saved, body) {
        (BodyState::Directory(..), Body::Directory(_))
        | (BodyState::Regular(_), Body::Regular(_)) => true,
        (BodyState::Symlink(a), Body::Symlink(b)) => a == b,
        (BodyState::Special(mode, a), Body::Special(kind, b)) => {
            *mode == kind.mode_bits() && a == b
        }
        _ => false,
    }
}

fn fill_content(content: &mut Content, saved: &ContentState) -> Result<(), LoadError> {
    content.truncate(0).map_err(failed)?;
    for (offset, bytes) in &saved.data {
        let mut done = 0;
        while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
            let at = offset.checked_add(done as u64).ok_or(WRONG)?;
            match content.write(at, rest).map_err(failed)? {
                0 => return Err(WRONG),
                n => done += n,
            }
        }
    }
    content.truncate(saved.size).map_err(failed)
}
