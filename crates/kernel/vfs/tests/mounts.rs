//! The mount table beside a model: what is over what, what a walk meets, what can be taken away.

use std::collections::BTreeMap;
use std::sync::Arc;

use base_abi::general::{O_CREAT, O_WRONLY};
use kernel_fs::{Budget, BudgetLimits, RootAttr, TmpFs};
use kernel_vfs::{
    At, Credentials, Errno, FsContext, LastLink, MountFlags, MountTable, OpenHow, Unmount, Vfs,
};
use proptest::prelude::*;

const LIMITS: BudgetLimits = BudgetLimits {
    bytes: 1 << 20,
    inodes: 1000,
};

/// Every file system has these directories.
const NAMES: [&str; 2] = ["a", "b"];

fn root_user() -> Credentials {
    Credentials {
        privileged: true,
        ..Credentials::default()
    }
}

fn tmpfs() -> Arc<TmpFs> {
    TmpFs::new(Budget::new(LIMITS), RootAttr::default()).unwrap()
}

#[derive(Clone, Debug)]
enum Op {
    Mount(Vec<usize>),
    Bind(Vec<usize>, Vec<usize>),
    Unmount(Vec<usize>),
    Detach(Vec<usize>),
    Mark(Vec<usize>),
}

/// A file system of the model: which file systems lie over its directories, the last one on top.
/// A directory is a path of names within the file system.
#[derive(Clone, Debug, Default)]
struct Model {
    /// By number of the mount: number of its file system, directory of it that is seen.
    mounts: BTreeMap<usize, (usize, Vec<usize>)>,
    /// By mount and directory in the file system: what covers it.
    over: BTreeMap<(usize, Vec<usize>), usize>,
    /// Marks in directories of file systems.
    marks: BTreeMap<(usize, Vec<usize>), usize>,
    next_mount: usize,
    next_fs: usize,
}

/// Where a walk of the model ends: mount, and directory in its file system.
type Place = (usize, Vec<usize>);

impl Model {
    fn new() -> Model {
        Model {
            mounts: BTreeMap::from([(0, (0, Vec::new()))]),
            next_mount: 1,
            next_fs: 1,
            ..Model::default()
        }
    }

    fn topmost(&self, mut place: Place) -> Place {
        while let Some(mount) = self.over.get(&place) {
            place = (*mount, self.mounts[mount].1.clone());
        }
        place
    }

    /// Directories are two deep in every file system. The root is the task's, whatever is mounted over it later.
    fn walk(&self, path: &[usize]) -> Option<Place> {
        let mut at = (0, Vec::new());
        for name in path {
            let (mount, mut directory) = at;
            if directory.len() == 2 {
                return None;
            }
            directory.push(*name);
            at = self.topmost((mount, directory));
        }
        Some(at)
    }

    fn key(&self, place: &Place) -> (usize, Vec<usize>) {
        (self.mounts[&place.0].0, place.1.clone())
    }

    fn attach(&mut self, fs: usize, shown: Vec<usize>, at: Place) {
        let at = self.topmost(at);
        self.mounts.insert(self.next_mount, (fs, shown));
        self.over.insert(at, self.next_mount);
        self.next_mount += 1;
    }

    /// The mount whose root a place is, unless it is the first one.
    fn mounted_at(&self, place: &Place) -> Option<usize> {
        let is_root = self.mounts[&place.0].1 == place.1;
        (is_root && place.0 != 0).then_some(place.0)
    }

    fn is_used(&self, mount: usize) -> bool {
        self.over.keys().any(|(other, _)| *other == mount)
    }

    fn detach(&mut self, mount: usize) {
        self.over.retain(|_, over| *over != mount);
    }
}

fn text(path: &[usize]) -> String {
    let names: Vec<&str> = path.iter().map(|n| NAMES[*n]).collect();
    format!("/{}", names.join("/"))
}

struct Ours {
    fs: FsContext,
    who: Credentials,
}

impl Ours {
    fn new() -> Ours {
        let table =
            MountTable::new(Arc::<Vfs>::default(), filled(), "none", MountFlags::empty()).unwrap();
        Ours {
            fs: FsContext::new(table),
            who: root_user(),
        }
    }

    fn at(&self) -> At<'_> {
        At::cwd(&self.fs, &self.who)
    }

    fn find(&self, path: &[usize]) -> Result<kernel_vfs::Path, Errno> {
        self.at().find(text(path).as_bytes(), LastLink::Follow)
    }

    /// The marks that are seen in a directory.
    fn marks(&self, path: &[usize]) -> Vec<usize> {
        let seen = |mark: &usize| {
            let name = format!("{}/mark{mark}", text(path));
            self.at().find(name.as_bytes(), LastLink::Follow).is_ok()
        };
        (0..64).filter(seen).collect()
    }
}

/// A file system with all directories.
fn filled() -> Arc<TmpFs> {
    let fs = tmpfs();
    let table = MountTable::new(
        Arc::<Vfs>::default(),
        Arc::clone(&fs) as _,
        "none",
        MountFlags::empty(),
    );
    let (context, who) = (FsContext::new(table.unwrap()), root_user());
    let at = At::cwd(&context, &who);
    for one in 0..2 {
        at.mkdir(text(&[one]).as_bytes(), 0o755).unwrap();
        for two in 0..2 {
            at.mkdir(text(&[one, two]).as_bytes(), 0o755).unwrap();
        }
    }
    fs
}

fn path() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0..2usize, 0..4)
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => path().prop_map(Op::Mount),
        2 => (path(), path()).prop_map(|(from, to)| Op::Bind(from, to)),
        2 => path().prop_map(Op::Unmount),
        1 => path().prop_map(Op::Detach),
        3 => path().prop_map(Op::Mark),
    ]
}

fn every_path() -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new()];
    for length in 1..4usize {
        for bits in 0..1usize << length {
            all.push((0..length).map(|n| bits >> n & 1).collect());
        }
    }
    all
}

fn apply(ours: &Ours, model: &mut Model, op: &Op, marks: &mut usize) {
    let table = ours.fs.table();
    match op {
        Op::Mount(path) => {
            let Some(place) = model.walk(path) else {
                return assert!(ours.find(path).is_err());
            };
            let at = ours.find(path).unwrap();
            table
                .mount(filled(), "x", &at, MountFlags::empty())
                .unwrap();
            model.attach(model.next_fs, Vec::new(), place);
            model.next_fs += 1;
        }
        Op::Bind(from, to) => {
            let (Some(source), Some(place)) = (model.walk(from), model.walk(to)) else {
                return;
            };
            let (from, to) = (ours.find(from).unwrap(), ours.find(to).unwrap());
            table.bind(&from, &to, MountFlags::empty()).unwrap();
            let (fs, shown) = model.key(&source);
            model.attach(fs, shown, place);
        }
        Op::Unmount(path) | Op::Detach(path) => {
            let Some(place) = model.walk(path) else {
                return;
            };
            let how = match op {
                Op::Detach(_) => Unmount::Detach,
                _ => Unmount::IfUnused,
            };
            let answer = table.unmount(ours.find(path).unwrap(), how);
            match model.mounted_at(&place) {
                None => assert_eq!(answer, Err(Errno::EINVAL)),
                Some(mount) if how == Unmount::IfUnused && model.is_used(mount) => {
                    assert_eq!(answer, Err(Errno::EBUSY));
                }
                Some(mount) => {
                    assert_eq!(answer, Ok(()));
                    model.detach(mount);
                }
            }
        }
        Op::Mark(path) => {
            let Some(place) = model.walk(path) else {
                return;
            };
            let name = format!("{}/mark{marks}", text(path));
            let how = OpenHow {
                flags: O_CREAT | O_WRONLY,
                mode: 0o644,
                ..OpenHow::default()
            };
            ours.at().open(name.as_bytes(), how).unwrap();
            model.marks.insert(
                (model.key(&place).0, [place.1, vec![*marks + 2]].concat()),
                *marks,
            );
            *marks += 1;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn walks_meet_what_is_on_top(ops in prop::collection::vec(op(), 1..24)) {
        let (ours, mut model, mut marks) = (Ours::new(), Model::new(), 0);
        for op in &ops {
            apply(&ours, &mut model, op, &mut marks);
            for path in every_path() {
                let expected = model.walk(&path).map(|place| {
                    let (fs, directory) = model.key(&place);
                    let here = |(key, _): &(&(usize, Vec<usize>), &usize)| {
                        key.0 == fs && key.1.len() == directory.len() + 1 && key.1.starts_with(&directory)
                    };
                    model.marks.iter().filter(here).map(|(_, mark)| *mark).collect::<Vec<_>>()
                });
                match expected {
                    Some(mut expected) => {
                        expected.sort_unstable();
                        prop_assert!(ours.find(&path).is_ok(), "{path:?}");
                        prop_assert_eq!(ours.marks(&path), expected, "{:?}", path);
                    }
                    None => prop_assert!(ours.find(&path).is_err(), "{path:?}"),
                }
            }
        }
    }
}

#[test]
fn a_read_only_mount_takes_no_change_and_says_so() {
    let ours = Ours::new();
    let at = ours.find(&[0]).unwrap();
    let mount = ours
        .fs
        .table()
        .mount(filled(), "x", &at, MountFlags::RDONLY);
    let mount = mount.unwrap();
    let refused = |what: Result<(), Errno>| assert_eq!(what, Err(Errno::EROFS));
    refused(ours.at().mkdir(b"/a/new", 0o755));
    refused(ours.at().rmdir(b"/a/b"));
    refused(ours.at().symlink(b"x", b"/a/new"));
    let inside = ours.find(&[0, 1]).unwrap();
    refused(inside.chmod(&ours.who, 0o700));
    mount.set_flags(MountFlags::empty());
    assert_eq!(ours.at().mkdir(b"/a/new", 0o755), Ok(()));
}

#[test]
fn a_mount_over_a_directory_keeps_it_from_being_removed_or_renamed() {
    let ours = Ours::new();
    let at = ours.find(&[0, 1]).unwrap();
    ours.fs
        .table()
        .mount(filled(), "x", &at, MountFlags::empty())
        .unwrap();
    drop(at);
    let me = ours.at();
    assert_eq!(me.rmdir(b"/a/b"), Err(Errno::EBUSY));
    let rename = me.rename(b"/a/b", &me, b"/a/c", kernel_vfs::RenameMode::Replace);
    assert_eq!(rename, Err(Errno::EBUSY));
    // The directory above may move, and the mount with it.
    me.rename(b"/a", &me, b"/c", kernel_vfs::RenameMode::Replace)
        .unwrap();
    let moved = me.find(b"/c/b/a", LastLink::Follow).unwrap();
    assert_eq!(moved.text(ours.fs.root()), b"/c/b/a");
    let lists = ours.fs.table().mounts(ours.fs.root());
    assert!(String::from_utf8_lossy(&lists).contains("x /c/b tmpfs"));
}
