//! What all servers have in common, and the Lambda API over any node.

use std::io::Write;
use std::sync::Arc;

use control_registry::{Registry, SnapshotPolicy};
use control_service::Service;
use edge_cli::{ApiArgs, ExitCode, Failure, SnapStart};
use edge_gateway::{Config, Gateway, Tls, read_tls};
use edge_keys::KeyRing;
use host_sys::rlimit::{self, Resource};
use proto_node::Node;
use tracing_subscriber::EnvFilter;

use crate::asked::Asked;

/// Most descriptors that a server asks for: two thousand connections, and some for each of a thousand sandboxes.
const DESCRIPTORS: u64 = 65_536;

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
    ask_for_descriptors();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| failed(&error))?
        .block_on(work)
}

/// Each connection and each sandbox takes some, and hosts start programs with a thousand. Sandboxes set limits of
/// their own.
fn ask_for_descriptors() {
    let asked = rlimit::get(Resource::OpenFiles).and_then(|(soft, hard)| {
        let wanted = hard.min(DESCRIPTORS).max(soft);
        rlimit::set(Resource::OpenFiles, wanted, hard)
    });
    if let Err(error) = asked {
        tracing::debug!(%error, "the host grants no more descriptors");
    }
}

pub(crate) fn failed(error: &dyn std::error::Error) -> Failure {
    Failure::from_error(ExitCode::Failed, error)
}

/// Who may ask, and over what.
pub(crate) struct Admittance {
    keys: Option<Arc<KeyRing>>,
    tls: Option<Tls>,
}

/// Reads the files that say who may ask; nothing where everybody on this machine may.
pub(crate) fn admittance(args: &ApiArgs) -> Result<Admittance, Failure> {
    let tls = match (&args.tls_cert, &args.tls_key) {
        (Some(certificate), Some(key)) => Some(read_tls(certificate, key)),
        _ => None,
    };
    let tls = tls.transpose();
    let tls = tls.map_err(|error| Failure::from_error(ExitCode::Usage, &error))?;
    let local = args.listen.ip().is_loopback();
    let Some(path) = &args.keys else {
        if local {
            return Ok(Admittance { keys: None, tls });
        }
        let text = format!("{} is not a loopback address", args.listen);
        return Err(Failure::new(ExitCode::Usage, text).next(
            "requests are not authenticated without keys: give a file of them with --keys, or listen at 127.0.0.1",
        ));
    };
    let keys = KeyRing::open(path).map_err(|error| {
        Failure::from_error(ExitCode::Usage, &error).next(format!(
            "make one with: rekindle key create --keys {}",
            path.display()
        ))
    })?;
    if !local && tls.is_none() {
        tracing::warn!(
            "requests are signed but not encrypted: whoever is on the way reads them; give --tls-cert and --tls-key, or use a network of your own"
        );
    }
    Ok(Admittance {
        keys: Some(Arc::new(keys)),
        tls,
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
    admittance: Admittance,
    registry: Arc<Registry>,
    node: Arc<dyn Node>,
    asked: &Asked,
) -> Result<(), Failure> {
    let waits = control_service::Config::default();
    let service = Service::start(registry, node, waits).await;
    let settings = Config {
        listen: args.listen,
        keys: admittance.keys,
        tls: admittance.tls,
        shutdown_grace: args.drain.0,
        metrics: crate::metrics::of_the_node(),
        ..Config::default()
    };
    let gateway = Gateway::bind(settings, Arc::clone(&service)).await;
    let gateway = gateway.map_err(|error| {
        failed(&error).next("is another server there? choose another address with --listen")
    })?;
    say(&format!("serving the Lambda API at {}", gateway.url()));
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
