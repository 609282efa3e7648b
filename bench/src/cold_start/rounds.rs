//! Rounds of starts: each form in turn, so that a noisy machine disturbs each alike.

use std::fs;

use edge_cli::Failure;

use crate::Progress;
use crate::failed;
use crate::subject::{Caller, Kind, Started, burst, settle};
use crate::summary::{Spread, quantile, ratio};

use super::report::{PageCache, Row};
use super::workload::Subject;

/// Writing 1 here drops the host's clean page cache (proc_sys_vm(5)).
const DROP_CACHES: &str = "/proc/sys/vm/drop_caches";
/// What of an answer's time is in no stage that the server tells.
const UNTOLD: &str = "untold";
/// Unless so many of the first starts were restored, none will be.
const TRIES: u32 = 3;
/// Time that so many starts without snapshot at once may take by reckoning: a node gives up on a start after 10 s.
const BURST_MS: f64 = 8000.0;

/// Times of one kind of start.
#[derive(Default)]
struct Times {
    restored: Vec<f64>,
    without: Vec<f64>,
    native: Vec<f64>,
    floor: Vec<f64>,
    /// Of restored starts.
    stages: Vec<(String, f64)>,
    exits: Vec<(String, f64)>,
    started: Started,
    started_without: Started,
}

impl Subject<'_> {
    /// `rounds` starts alone, fewer of many at once.
    pub(super) async fn measure(
        &mut self,
        at_once: usize,
        rounds: u32,
        progress: &Progress,
    ) -> Result<Row, Failure> {
        let rounds = match at_once {
            1 => rounds,
            2..=16 => rounds.div_ceil(4),
            _ => rounds.div_ceil(10),
        };
        let address = self.server.address();
        let mut with = Caller::some(at_once, address, &self.with);
        let mut without = Caller::some(at_once, address, &self.without);
        let reckoned = self.alone_ms * at_once as f64 / cpus();
        let skip_without = reckoned > BURST_MS;
        let mut times = Times::default();
        // The first one warms the page cache and is not counted.
        for round in 0..=rounds {
            if round > 1 && progress.is_over() {
                break;
            }
            let mut this = Times::default();
            if self.restores || (at_once == 1 && round < TRIES) {
                self.restored(&mut with, &mut this).await?;
            }
            if !skip_without {
                self.without(&mut without, &mut this).await?;
            }
            this.native = self.native.burst(at_once).map_err(|error| failed(&error))?;
            if let Some(floor) = &mut self.floor {
                this.floor = floor.burst(at_once).map_err(|error| failed(&error))?;
            }
            self.restores |= !this.restored.is_empty();
            if round > 0 {
                times.take(this);
            }
        }
        if at_once == 1 {
            for (stage, ms) in times.stages.drain(..) {
                self.stages.entry(stage).or_default().push(ms);
            }
            for (reason, count) in times.exits.drain(..) {
                self.exits.entry(reason).or_default().push(count);
            }
            let mut alone = times.without.clone();
            alone.sort_by(f64::total_cmp);
            self.alone_ms = quantile(&alone, 0.5);
        }
        let skipped = skip_without.then(|| {
            format!(
                "without snapshot: {:.0} s by reckoning, more than a start may take",
                reckoned / 1e3
            )
        });
        Ok(times.row(at_once, PageCache::Warm, skipped))
    }

    /// Starts alone with nothing in the page cache, where the host lets it be dropped.
    pub(super) async fn measure_dropped(
        &mut self,
        rounds: u32,
        progress: &Progress,
    ) -> Result<Option<Row>, Failure> {
        let rounds = rounds / 8;
        if rounds == 0 || drop_page_cache().is_err() {
            return Ok(None);
        }
        let address = self.server.address();
        let mut with = Caller::some(1, address, &self.with);
        let mut without = Caller::some(1, address, &self.without);
        let mut times = Times::default();
        let dropped = || drop_page_cache().map_err(|error| failed(&error));
        for _ in 0..rounds {
            if progress.is_over() {
                break;
            }
            if self.restores {
                settle(self.server).await;
                dropped()?;
                self.restored(&mut with, &mut times).await?;
            }
            settle(self.server).await;
            dropped()?;
            self.without(&mut without, &mut times).await?;
            dropped()?;
            times
                .native
                .extend(self.native.burst(1).map_err(|error| failed(&error))?);
            if let Some(floor) = &mut self.floor {
                dropped()?;
                times
                    .floor
                    .extend(floor.burst(1).map_err(|error| failed(&error))?);
            }
        }
        Ok(Some(times.row(1, PageCache::Dropped, None)))
    }

    async fn restored(
        &mut self,
        callers: &mut Vec<Caller>,
        times: &mut Times,
    ) -> Result<(), Failure> {
        settle(self.server).await;
        for answer in burst(callers, &self.event).await? {
            match answer {
                Ok(answer) => {
                    times.started.count(answer.kind);
                    if answer.kind == Kind::Restored {
                        times.restored.push(answer.ms);
                        let told: f64 = answer.stages.iter().map(|(_, ms)| ms).sum();
                        times.stages.extend(answer.stages);
                        times.exits.extend(answer.exits);
                        times
                            .stages
                            .push((UNTOLD.to_owned(), (answer.ms - told).max(0.0)));
                    }
                }
                Err(error) => times.started.fail(&error),
            }
        }
        Ok(())
    }

    /// Of many at once some are answered by instances that others have started; they count, to our disadvantage.
    async fn without(
        &mut self,
        callers: &mut Vec<Caller>,
        times: &mut Times,
    ) -> Result<(), Failure> {
        settle(self.server).await;
        for answer in burst(callers, &self.event).await? {
            match answer {
                Ok(answer) => {
                    times.started_without.count(answer.kind);
                    if answer.kind != Kind::Restored {
                        times.without.push(answer.ms);
                    }
                }
                Err(error) => times.started_without.fail(&error),
            }
        }
        Ok(())
    }
}

impl Times {
    fn take(&mut self, other: Times) {
        self.restored.extend(other.restored);
        self.without.extend(other.without);
        self.native.extend(other.native);
        self.floor.extend(other.floor);
        self.stages.extend(other.stages);
        self.exits.extend(other.exits);
        self.started.take(other.started);
        self.started_without.take(other.started_without);
    }

    fn row(self, at_once: usize, page_cache: PageCache, skipped: Option<String>) -> Row {
        let [restored, without, native, floor] =
            [self.restored, self.without, self.native, self.floor].map(Spread::of);
        let p50 = |spread: Option<Spread>| spread.map(|spread| spread.p50_ms);
        Row {
            at_once,
            page_cache,
            restored,
            without,
            native,
            floor,
            without_over_restored: ratio(p50(without), p50(restored)),
            native_over_restored: ratio(p50(native), p50(restored)),
            restored_over_floor: ratio(p50(restored), p50(floor)),
            started: self.started,
            started_without: self.started_without,
            skipped,
        }
    }
}

fn cpus() -> f64 {
    std::thread::available_parallelism().map_or(1.0, |count| count.get() as f64)
}

fn drop_page_cache() -> std::io::Result<()> {
    fs::write(DROP_CACHES, "1")
}
