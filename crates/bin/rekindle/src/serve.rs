//! `rekindle serve`: gateway, registry and node in one process.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use control_registry::{Registry, SnapshotPolicy};
use control_service::Service;
use edge_cli::{ExitCode, Failure, ServeArgs, SnapStart, TemplateUse};
use edge_gateway::{AccessKey, Config, Gateway, read_keys};
use node_agent::{Agent, AgentConfig};
use proto_node::Node;
use tracing_subscriber::EnvFilter;

/// How long instances get to end at shutdown.
const GRACE: Duration = Duration::from_secs(5);

pub(crate) fn serve(args: &ServeArgs) -> Result<(), Failure> {
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
        .block_on(run(args))
}

fn failed(error: &dyn std::error::Error) -> Failure {
    Failure::from_error(ExitCode::Failed, error)
}

async fn run(args: &ServeArgs) -> Result<(), Failure> {
    let keys = access_keys(args)?;
    let registry = Registry::open(control_registry::Config {
        snapshots: match args.snap_start {
            SnapStart::Always => SnapshotPolicy::Always,
            SnapStart::Asked => SnapshotPolicy::Asked,
            SnapStart::Never => SnapshotPolicy::Never,
        },
        ..control_registry::Config::new(&args.data)
    })
    .await;
    let registry = Arc::new(registry.map_err(|error| failed(&error))?);
    let mut config = AgentConfig::new(args.data.join("node")).map_err(|error| failed(&error))?;
    config.pool.limits.idle = args.keep_idle.0;
    match &mut config.snapshots {
        _ if args.snap_start == SnapStart::Never => config.snapshots = None,
        Some(snapshots) => snapshots.budget_bytes = args.snapshots.0,
        None => {}
    }
    config.templates = match args.templates {
        TemplateUse::On => node_agent::TemplateUse::On,
        TemplateUse::Off => node_agent::TemplateUse::Off,
    };
    config.platform = crate::platform::choice(args.platform);
    config.pool.limits.instances = args.instances as usize;
    config.pool.limits.memory_mb = args.memory.0 >> 20;
    let agent = Agent::start(config).map_err(|error| failed(&error))?;
    let agent: Arc<dyn Node> = Arc::new(agent);
    let waits = control_service::Config::default();
    let service = Service::start(registry, Arc::clone(&agent), waits).await;
    let settings = Config {
        listen: args.listen,
        keys,
        metrics: crate::metrics::of_the_node(),
        ..Config::default()
    };
    let gateway = Gateway::bind(settings, Arc::clone(&service)).await;
    let gateway = gateway.map_err(|error| {
        failed(&error).next("is another server there? choose another address with --listen")
    })?;
    let mut out = std::io::stdout();
    // Nobody reads it when started as a service.
    let _ = writeln!(
        out,
        "rekindle: serving the Lambda API at http://{}",
        gateway.address()
    );
    let again = tokio::spawn(service.prepare_again());
    gateway.run(stop()).await;
    again.abort();
    agent.drain(GRACE).await;
    Ok(())
}

/// The keys that may sign; none where nobody has to.
fn access_keys(args: &ServeArgs) -> Result<Vec<AccessKey>, Failure> {
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

/// Resolves at SIGINT or SIGTERM.
async fn stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut term) = signal(SignalKind::terminate()) else {
        return;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = term.recv() => {}
    }
}
