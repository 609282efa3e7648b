//! What all servers have in common, and the Lambda API over any node.

use std::io::Write;
use std::sync::Arc;

use control_registry::{Registry, SnapshotPolicy};
use control_service::Service;
use edge_cli::{ApiArgs, ExitCode, Failure, SnapStart};
use edge_gateway::{AccessKey, Config, Gateway, read_keys};
use proto_node::Node;
use tracing_subscriber::EnvFilter;

use crate::asked::Asked;

/// Runs a server: many threads, and a log on standard error.
pub(crate) fn block_on(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    if let Err(error) = host_sys::schedule::ask_for_short_turns() {
        tracing::debug!(%error, "the host grants no short turns");
    }
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| failed(&error))?
        .block_on(work)
}

pub(crate) fn failed(error: &dyn std::error::Error) -> Failure {
    Failure::from_error(ExitCode::Failed, error)
}

/// The keys that may sign; none where nobody has to.
pub(crate) fn keys(args: &ApiArgs) -> Result<Vec<AccessKey>, Failure> {
    let Some(path) = &args.keys else {
        if args.listen.ip().is_loopback() {
            return Ok(Vec::new());
        }
        let text = format!("{} is not a loopback address", args.listen);
        return Err(Failure::new(ExitCode::Usage, text).next(
            "requests are not authenticated without keys: give a file of them with --keys, or listen at 127.0.0.1",
        ));
    };
    read_keys(path).map_err(|error| {
        Failure::from_error(ExitCode::Usage, &error)
            .next("a section of ~/.aws/credentials for each key, and chmod 600")
    })
}

/// What there is.
pub(crate) async fn registry(args: &ApiArgs) -> Result<Arc<Registry>, Failure> {
    let registry = Registry::open(control_registry::Config {
        snapshots: match args.snap_start {
            SnapStart::Always => SnapshotPolicy::Always,
            SnapStart::Asked => SnapshotPolicy::Asked,
            SnapStart::Never => SnapshotPolicy::Never,
        },
        ..control_registry::Config::new(&args.data)
    })
    .await;
    Ok(Arc::new(registry.map_err(|error| failed(&error))?))
}

/// Serves the API until told to stop.
pub(crate) async fn serve(
    args: &ApiArgs,
    keys: Vec<AccessKey>,
    registry: Arc<Registry>,
    node: Arc<dyn Node>,
    asked: &Asked,
) -> Result<(), Failure> {
    let waits = control_service::Config::default();
    let service = Service::start(registry, node, waits).await;
    let settings = Config {
        listen: args.listen,
        keys,
        shutdown_grace: args.drain.0,
        metrics: crate::metrics::of_the_node(),
        ..Config::default()
    };
    let gateway = Gateway::bind(settings, Arc::clone(&service)).await;
    let gateway = gateway.map_err(|error| {
        failed(&error).next("is another server there? choose another address with --listen")
    })?;
    say(&format!(
        "serving the Lambda API at http://{}",
        gateway.address()
    ));
    let again = tokio::spawn(service.prepare_again());
    tokio::select! {
        () = gateway.run(asked.times(1)) => {}
        () = asked.times(2) => tracing::warn!("requests under way are cut off"),
    }
    again.abort();
    Ok(())
}

/// Tells whoever started it that it is there.
pub(crate) fn say(text: &str) {
    // Nobody reads it when started as a service.
    let _ = writeln!(std::io::stdout(), "rekindle: {text}");
}
