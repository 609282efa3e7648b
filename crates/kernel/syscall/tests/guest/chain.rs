//! A program whose life is a chain of machines: at chosen system calls it is captured, its machine ends, and it goes on
//! in a fresh one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kernel_files::console::Stream;
use kernel_syscall::snapshot::{CaptureError, SavedKernel};

use crate::guest::{Machine, Outcome, boot_on, limit};
use crate::moving::{Snapshot, enter_in, try_snapshot};
use crate::watched::{Chosen, Next, Watch, Watched};

/// What was done with a program.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// System calls that it made.
    pub(crate) calls: u64,
    /// Times that it went on in another machine.
    pub(crate) moves: u64,
    /// Calls that somebody slept in meanwhile.
    pub(crate) asleep: BTreeSet<u64>,
    /// Captures that were refused, by reason.
    pub(crate) refused: BTreeMap<String, u64>,
    /// Captures that came when a thread could not stop, in the middle of a call.
    pub(crate) busy: u64,
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let refused: u64 = self.refused.values().sum();
        write!(
            f,
            "{} calls, {} moves, {} refused, {} busy, asleep in {:?}",
            self.calls, self.moves, refused, self.busy, self.asleep
        )?;
        for (reason, times) in &self.refused {
            write!(f, "\n    refused {times} times: {reason}")?;
        }
        Ok(())
    }
}

/// What is looked at beside the program's results.
#[allow(dead_code, reason = "not every user checks in both ways")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// Nothing.
    Results,
    /// Each machine is captured again before anything runs in it: nothing may have been lost on the way.
    State,
}

/// A program in its present machine.
pub(crate) struct Chain {
    watch: Arc<Watch>,
    platform: Arc<Watched>,
    machine: Machine,
    layers: Vec<PathBuf>,
    check: Check,
    report: Report,
    /// What came out of the machines before.
    output: Vec<u8>,
    errors: Vec<u8>,
    /// How much of both was handed on.
    told: (usize, usize),
}

fn machine(watch: &Arc<Watch>, monotonic: Duration, layers: &[PathBuf]) -> (Arc<Watched>, Machine) {
    let platform = Arc::new(Watched::new(watch));
    let machine = boot_on(Arc::clone(&platform) as _, monotonic, layers);
    platform.serve(&machine.system);
    (platform, machine)
}

impl Chain {
    /// A first machine, with directories of the host laid over its root, that stops at the calls that are chosen.
    pub(crate) fn new(chosen: Chosen, layers: Vec<PathBuf>, check: Check) -> Chain {
        let watch = Watch::new(chosen);
        let (platform, machine) = machine(&watch, Duration::ZERO, &layers);
        Chain {
            watch,
            platform,
            machine,
            layers,
            check,
            report: Report::default(),
            output: Vec::new(),
            errors: Vec::new(),
            told: (0, 0),
        }
    }

    /// Runs a program with this input to its end. `printed` is given its output as it comes.
    pub(crate) fn live(
        mut self,
        argv: &[&str],
        input: &[u8],
        limit: Duration,
        printed: &mut dyn FnMut(Stream, &[u8]),
    ) -> (Outcome, Report) {
        self.machine.start(argv);
        assert_eq!(self.machine.console.push_input(input), input.len());
        self.machine.console.set_closed(Stream::Input);
        let deadline = Instant::now() + limit;
        let status = loop {
            let soon = deadline.min(Instant::now() + Duration::from_millis(50));
            match self.watch.next(&self.platform, soon) {
                Next::Due(number) => self.stop(number),
                Next::Ended | Next::Nothing => {
                    let kernel = &self.machine.system.kernel;
                    let status = kernel.wait_ended(Some(Instant::now()));
                    if status.is_some() || Instant::now() >= deadline {
                        break status;
                    }
                }
            }
            self.tell(printed);
        };
        if status.is_none() {
            self.machine.system.kernel.kill_all();
        }
        self.tell(printed);
        self.report.calls = self.watch.calls();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let outcome = Outcome {
            output: text(&self.output),
            errors: text(&self.errors),
            status,
        };
        (outcome, self.report)
    }

    fn collect(&mut self) {
        let console = &self.machine.console;
        self.output
            .extend(console.take_output(Stream::Output, 1 << 20));
        self.errors
            .extend(console.take_output(Stream::Error, 1 << 20));
    }

    fn tell(&mut self, printed: &mut dyn FnMut(Stream, &[u8])) {
        self.collect();
        printed(Stream::Output, &self.output[self.told.0..]);
        printed(Stream::Error, &self.errors[self.told.1..]);
        self.told = (self.output.len(), self.errors.len());
    }

    /// Somebody is about to make the call of this number: the machine is captured after it, or asleep in it.
    fn stop(&mut self, number: u64) {
        let system = Arc::clone(&self.machine.system);
        if system.kernel.freeze(limit()).is_err() {
            self.report.busy += 1;
            self.resume();
            return;
        }
        {
            let tree = system.kernel.tree.lock();
            let mut tasks = tree.tasks().peekable();
            if tasks.peek().is_none() {
                drop(tasks);
                drop(tree);
                self.resume();
                return;
            }
            let asleep = tasks.filter_map(|t| t.blocked_call.lock().map(|call| call.nr));
            self.report.asleep.extend(asleep);
        }
        match try_snapshot(&self.machine) {
            Ok(taken) => self.go_on(number, &taken),
            Err(CaptureError::Unsavable(what)) => {
                *self.report.refused.entry(what.what.clone()).or_default() += 1;
            }
            Err(CaptureError::Busy(_)) => self.report.busy += 1,
            Err(error) => panic!("call {number}: {error}"),
        }
        self.resume();
    }

    /// The next call may be chosen from here on.
    fn resume(&self) {
        self.watch.served();
        self.machine.system.kernel.thaw();
    }

    fn go_on(&mut self, number: u64, taken: &Snapshot) {
        self.report.moves += 1;
        let watch = Arc::clone(&self.watch);
        let layers = self.layers.clone();
        let mut platform = None;
        let boot = |monotonic| {
            let (new, next) = machine(&watch, monotonic, &layers);
            platform = Some(new);
            next
        };
        let next = enter_in(boot, &taken.state, &taken.memory);
        let next = next.unwrap_or_else(|error| panic!("call {number}: {error}"));
        if self.check == Check::State {
            let again = try_snapshot(&next);
            let again = again.unwrap_or_else(|error| panic!("call {number}, again: {error}"));
            compare(number, &taken.state, &again.state);
        }
        self.collect();
        let system = Arc::clone(&self.machine.system);
        system.kernel.kill_all();
        system.kernel.thaw();
        let ended = system.kernel.wait_ended(Some(Instant::now() + limit()));
        assert!(ended.is_some(), "call {number}: the old machine goes on");
        self.platform = platform.expect("a platform");
        self.machine = next;
    }
}

/// What comes after the version and the monotonic clock, a number of seven bits a byte.
fn without_clock(state: &[u8]) -> &[u8] {
    let end = state.iter().skip(4).position(|byte| byte & 0x80 == 0);
    end.and_then(|end| state.get(4 + end + 1..))
        .unwrap_or_default()
}

/// Both are the same but for the clock.
fn compare(number: u64, before: &[u8], after: &[u8]) {
    let lines = |bytes: &[u8]| -> Vec<String> {
        let text = format!("{:#?}", SavedKernel::parse(bytes).expect("state"));
        // A removed file that is made anew takes the next inode number of its file system.
        let anew = text.contains("Nameless {");
        // A timer may expire at any time.
        if !text.contains(" timers: [],") {
            return Vec::new();
        }
        let from = text.find(" objects: ").filter(|_| anew).unwrap_or_default();
        text[from..].lines().map(str::to_owned).collect()
    };
    if without_clock(before) == without_clock(after) {
        return;
    }
    let (before, after) = (lines(before), lines(after));
    let differ = |(a, b): (&String, &String)| a != b && !a.trim_start().starts_with("monotonic:");
    let at = before.iter().zip(&after).position(differ);
    let same = at.is_none() && before.len() == after.len();
    let at = at.unwrap_or_default();
    let around = |lines: &[String]| {
        let part = lines.iter().skip(at.saturating_sub(20)).take(30);
        part.fold(String::new(), |text, line| text + line + "\n")
    };
    let told = || format!("{}\nbecame\n{}", around(&before), around(&after));
    assert!(same, "call {number}: lost on the way:\n{}", told());
}
