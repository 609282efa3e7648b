//! Many instances of one function at once.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use edge_cli::Failure;
use edge_cli::server::Server;
use tokio::task::JoinSet;

use crate::processes::{Memory, Sandbox, available_kb, sandboxes};
use crate::subject::{Answer, Caller, Deployed, Started, burst, settle};
use crate::{Progress, failed};

use super::report::{Answering, Parts, Step};

/// Starts that may be under way at once.
const AHEAD: usize = 8;
/// Between two looks at how many there are.
const LOOK: Duration = Duration::from_millis(25);
/// Memory that the host keeps.
const RESERVE_KB: u64 = 2 << 20;
/// Failed calls after which it is given up.
const FAILURES: u32 = 5;
/// Longest time without one more instance.
const STANDSTILL: u32 = 2000;

pub(super) struct Crowd<'a> {
    server: &'a Server,
    function: &'a Deployed,
    available_before_kb: u64,
    pub(super) started: Started,
}

impl<'a> Crowd<'a> {
    pub(super) fn new(server: &'a Server, function: &'a Deployed) -> Crowd<'a> {
        Crowd {
            server,
            function,
            available_before_kb: available_kb(),
            started: Started::default(),
        }
    }

    fn occupied(&self) -> Vec<Sandbox> {
        let mut found = sandboxes(self.server.pid());
        found.retain(Sandbox::occupied);
        found
    }

    /// Has so many instances, all idle in the end; why not, if there is a reason.
    pub(super) async fn grow(
        &mut self,
        number: usize,
        progress: &Progress,
    ) -> Result<Option<String>, Failure> {
        let hold = event((number as u64 * 10).clamp(500, 8000));
        let mut calls: JoinSet<Result<Answer, Failure>> = JoinSet::new();
        let (mut most, mut still) = (0, 0);
        let stopped = loop {
            while let Some(call) = calls.try_join_next() {
                self.note(call.map_err(|error| failed(&error))?);
            }
            let live = self.occupied().len();
            if live >= number {
                break None;
            }
            still = if live > most { 0 } else { still + 1 };
            most = most.max(live);
            if self.started.failed >= FAILURES {
                break Some("too many calls failed".to_owned());
            }
            if available_kb() < RESERVE_KB {
                break Some(format!(
                    "the host had less than {} MB left",
                    RESERVE_KB >> 10
                ));
            }
            if progress.is_over() || still > STANDSTILL {
                break Some("the time was over".to_owned());
            }
            while calls.len() < number.min(live + AHEAD) {
                let mut caller = Caller::new(self.server.address(), self.function);
                let event = hold.clone();
                calls.spawn(async move { caller.call(&event).await });
            }
            tokio::time::sleep(LOOK).await;
        };
        while let Some(call) = calls.join_next().await {
            self.note(call.map_err(|error| failed(&error))?);
        }
        Ok(stopped)
    }

    fn note(&mut self, call: Result<Answer, Failure>) {
        match call {
            Ok(answer) => self.started.count(answer.kind),
            Err(error) => self.started.fail(&error),
        }
    }

    /// What the instances have, now that they are idle; nothing without any.
    pub(super) async fn look(&self) -> Option<Step> {
        settle(self.server).await;
        let available_kb = available_kb();
        let occupied = self.occupied();
        let newest = Parts::of(occupied.last()?);
        let mut all = Parts::default();
        for sandbox in &occupied {
            all.add(&Parts::of(sandbox));
        }
        let instances = occupied.len();
        Some(Step {
            instances,
            newest,
            mean: all.divided_by(instances as u64),
            server: Memory::of(&[self.server.pid()]),
            host_kb_per_instance: self.available_before_kb.saturating_sub(available_kb)
                / instances as u64,
        })
    }

    /// So many events at once, each held until all instances have one.
    pub(super) async fn ask_all(&self, number: usize) -> Result<Answering, Failure> {
        let mut callers = Caller::some(number, self.server.address(), self.function);
        let mut names: BTreeSet<String> = BTreeSet::new();
        let mut started = Started::default();
        let hold = event((number as u64 * 10).clamp(500, 10_000));
        for answer in burst(&mut callers, &hold).await? {
            match answer {
                Ok(answer) => {
                    started.count(answer.kind);
                    names.insert(answer.json()?);
                }
                Err(error) => started.fail(&error),
            }
        }
        Ok(Answering {
            asked: number,
            answered: started.restored + started.cold + started.warm,
            distinct: names.len(),
            started,
        })
    }
}

fn event(hold_ms: u64) -> Bytes {
    Bytes::from(format!(r#"{{"hold_ms": {hold_ms}}}"#))
}
