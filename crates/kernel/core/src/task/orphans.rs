//! Processes whose parent ended before them, and groups that nobody in their session cares for any more.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Descent, Links, Pid, Process, StopState, Tree};

impl Tree {
    /// Whether nobody will wait for a process, so that it is to go as soon as it has ended.
    ///
    /// Process 1 is usually a program and no init. Processes whose parent ended before them are its children then without its
    /// knowledge, and would stay zombies for ever. Where there is an init it never sees them. A process 1 that waits for any
    /// child, asked to adopt, or waits for this one gets it as on Linux.
    #[must_use]
    pub fn is_unclaimed(&self, pid: Pid) -> bool {
        let orphan = |links: &&Links| links.parent == 1 && links.descent == Descent::Adopted;
        let Some(_) = self.links(pid).filter(orphan) else {
            return false;
        };
        let init = self.links(1);
        !init.is_some_and(|init| init.collects || init.subreaper)
    }

    /// Whether no member of a group has a parent in another group of its session: nobody could continue it when it is stopped
    /// (credentials(7), setpgid(2)).
    #[must_use]
    pub fn is_orphaned_group(&self, group: Pid) -> bool {
        let cared_for = |links: &Links| {
            let parent = self.links(links.parent);
            parent.is_some_and(|p| p.session == links.session && p.group != group)
        };
        let living = |l: &&Links| l.group == group && l.ended.is_none();
        !self
            .processes()
            .map(|(_, l)| l)
            .filter(living)
            .any(cared_for)
    }

    /// Groups that the end of a process may leave without anybody who could continue them: its own, and those of its children.
    /// To be asked before the children go to another.
    #[must_use]
    pub fn groups_that_depend_on(&self, pid: Pid) -> BTreeSet<Pid> {
        let Some(own) = self.links(pid) else {
            return BTreeSet::new();
        };
        let children = own.children.iter().filter_map(|c| self.links(*c));
        let theirs = children.filter(|c| c.session == own.session && c.group != own.group);
        let parent = self.links(own.parent);
        let by_own = parent
            .filter(|p| p.session == own.session && p.group != own.group)
            .map(|_| own.group);
        theirs.map(|c| c.group).chain(by_own).collect()
    }

    /// Living members of a group that became an orphan, if any of them is stopped: these get `SIGHUP` and `SIGCONT` (exit(3p)).
    #[must_use]
    pub fn stopped_orphans(&self, group: Pid) -> Vec<Arc<Process>> {
        let members = || {
            let all = self.processes().map(|(_, l)| l);
            all.filter(|l| l.group == group && l.ended.is_none())
        };
        let stopped = |l: &Links| matches!(l.stop, StopState::Stopped { .. });
        if !self.is_orphaned_group(group) || !members().any(stopped) {
            return Vec::new();
        }
        members().map(|l| Arc::clone(&l.process)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::Signal;
    use crate::task::{Creds, ExitStatus, Rlimits};

    /// Process 1 with a child that has a child.
    fn family() -> Tree {
        let mut tree = Tree::default();
        for (pid, parent) in [(1, 0), (2, 1), (3, 2)] {
            assert_eq!(tree.allocate(usize::MAX), Some(pid));
            let creds = Arc::new(Creds::new(0, 0));
            let process = Process::new(pid, 0, creds, Rlimits::default(), Arc::default());
            tree.add_process(Arc::new(process), parent, Some(Signal::CHLD));
        }
        tree
    }

    fn end(tree: &mut Tree, pid: Pid) {
        tree.links_mut(pid).unwrap().ended = Some(ExitStatus::Code(0));
        tree.reparent_children(pid);
    }

    #[test]
    fn an_orphan_is_unclaimed_unless_process_1_collects() {
        let mut tree = family();
        assert!(!tree.is_unclaimed(2) && !tree.is_unclaimed(3));
        end(&mut tree, 2);
        assert!(!tree.is_unclaimed(2) && tree.is_unclaimed(3));
        tree.links_mut(1).unwrap().collects = true;
        assert!(!tree.is_unclaimed(3));
        tree.links_mut(1).unwrap().collects = false;
        tree.links_mut(1).unwrap().subreaper = true;
        assert!(!tree.is_unclaimed(3));
        tree.links_mut(1).unwrap().subreaper = false;
        tree.links_mut(3).unwrap().descent = Descent::Awaited;
        assert!(!tree.is_unclaimed(3));
    }

    #[test]
    fn what_was_collected_by_nobody_makes_room() {
        let mut tree = family();
        tree.links_mut(1).unwrap().collects = true;
        end(&mut tree, 2);
        end(&mut tree, 3);
        assert!(tree.has_room(3) && tree.links(3).is_some());
        // Its own child stays: it made it, and may ask for it.
        assert!(tree.has_room(2));
        assert!(tree.links(3).is_none() && tree.links(2).is_some());
        assert!(!tree.has_room(1));
    }
}
