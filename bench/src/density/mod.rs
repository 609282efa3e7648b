//! `density`: memory of one more idle instance.
//!
//! Instances come about because as many events as there shall be are held at once; then all are idle, and the host
//! tells what each of their processes has. At the end each is asked once more, all at once.

mod crowd;
mod report;

use edge_cli::{Failure, PlatformArg};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::args::BenchArgs;
use crate::machine::Machine;
use crate::subject::{Function, Language, Snapshots, deploy, settle};
use crate::{Progress, Report, failed, wanted};

use crowd::Crowd;
use report::{Figures, Row, Step};

/// At so many instances it is looked.
const NUMBERS: [usize; 3] = [10, 100, 1000];
/// Instances that a server may have besides, for those that end while others start.
const SPARE: usize = 32;

pub(crate) async fn run(args: &BenchArgs, progress: &Progress) -> Result<Report<Figures>, Failure> {
    let most = args.instances.unwrap_or(1000) as usize;
    let mut numbers: Vec<usize> = NUMBERS
        .into_iter()
        .filter(|number| *number < most)
        .collect();
    numbers.push(most);
    raise_descriptors();
    let mut functions = Vec::new();
    for language in Language::ALL {
        if !wanted(args, language.name()) || progress.is_over() {
            continue;
        }
        functions.push(measure(language, &numbers, args.platform, progress).await?);
    }
    Ok(Report {
        bench: "density",
        machine: Machine::here(),
        rounds: 1,
        figures: Figures { functions },
    })
}

async fn measure(
    language: Language,
    numbers: &[usize],
    platform: PlatformArg,
    progress: &Progress,
) -> Result<Row, Failure> {
    let most = numbers.last().copied().unwrap_or(1);
    let instances = (most + SPARE).to_string();
    let server = crate::serve(
        platform,
        &[
            "--keep-idle",
            "1h",
            "--memory",
            "1024G",
            "--instances",
            &instances,
        ],
    );
    let server = server.map_err(|error| failed(&error))?;
    let text = match language {
        Language::Python => include_str!("../../functions/live.py"),
        Language::Node => include_str!("../../functions/live.js"),
    };
    let mut function = Function::new(language, text);
    function.memory_mb = 128;
    let function = deploy(&server, "live", &function, Snapshots::On).await?;
    settle(&server).await;
    let mut crowd = Crowd::new(&server, &function);
    let mut steps: Vec<Step> = Vec::new();
    let mut stopped = None;
    for &number in numbers {
        progress.say(format_args!("{}: {number} instances", language.name()));
        stopped = crowd.grow(number, progress).await?;
        steps.extend(crowd.look().await);
        if stopped.is_some() {
            break;
        }
    }
    let live = steps.last().map_or(0, |step| step.instances);
    progress.say(format_args!("{}: asking {live} instances", language.name()));
    let answering = crowd.ask_all(live).await?;
    // An instance says how it came to be with its first event, which may be this one.
    let mut started = crowd.started;
    started.take(answering.started.clone());
    Ok(Row {
        language,
        no_snapshot: function.reason.clone(),
        started,
        steps,
        stopped,
        answering,
    })
}

/// A connection for each instance, on both sides: the limit is inherited by the server. Where the host gives no
/// more, calls fail and are told.
fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let _ = setrlimit(Resource::Nofile, raised);
}
