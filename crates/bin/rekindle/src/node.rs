//! `rekindle node`: what runs functions, for gateways elsewhere.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use edge_cli::layers::{self, Exposure, Summary};
use edge_cli::{ExitCode, Failure, NodeArgs, NodeOptions, TemplateUse};
use node_agent::{Agent, AgentConfig};
use node_serve::{Exposed, Exposition, ListenAddress, Server, Token};
use proto_node::Node;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::asked::Asked;
use crate::front::{failed, say};
use crate::owned::Owned;

/// How long instances get to end when it shall be at once.
pub(crate) const GRACE: Duration = Duration::from_secs(5);

pub(crate) async fn node(args: &NodeArgs) -> Result<(), Failure> {
    let place = match (&args.socket, args.listen) {
        (Some(path), _) => ListenAddress::Unix(path.clone()),
        (None, Some(address)) => ListenAddress::Tcp(address),
        (None, None) => {
            return Err(Failure::new(ExitCode::Usage, "the node listens nowhere")
                .next("give it --socket PATH, or --listen ADDRESS with --token-file FILE"));
        }
    };
    let token = args.token_file.as_deref().map(token).transpose()?;
    let asked = Asked::listen().map_err(|error| failed(&error))?;
    let _owned = Owned::take(&args.data)?;
    let config = agent_config(args.data.clone(), &args.node)?;
    let agent: Arc<dyn Node> = Arc::new(start(config, &args.node)?);
    let server = Server::bind(&place, token.clone(), Arc::clone(&agent)).await;
    let server = server.map_err(|error| {
        failed(&error).next("is another node there? choose another place with --socket or --listen")
    })?;
    let exposed = exposed(args, token, Arc::clone(&agent)).await?;
    say(&format!("a node listens at {}", server.place()));
    let (draining, drained) = watch::channel(());
    // Events that wait are turned away at once, so that gateways run them elsewhere; those that run may end. Gateways
    // stay connected meanwhile, for the answers.
    let draining = async move {
        asked.times(1).await;
        tokio::select! {
            () = agent.drain(args.drain.0) => {}
            () = asked.times(2) => agent.drain(GRACE).await,
        }
        drop(draining);
    };
    let serving = server.run(async move {
        let mut drained = drained;
        let _ = drained.changed().await;
    });
    let looked_at = exposed.map(|exposed| tokio::spawn(exposed.run()));
    tokio::join!(draining, serving);
    drop(looked_at.inspect(JoinHandle::abort));
    Ok(())
}

/// What the node counts, if anybody is to see it.
async fn exposed(
    args: &NodeArgs,
    token: Option<Token>,
    agent: Arc<dyn Node>,
) -> Result<Option<Exposed>, Failure> {
    let Some(address) = args.metrics else {
        return Ok(None);
    };
    let token = match (address.ip().is_loopback(), token) {
        (true, _) => None,
        (false, Some(token)) => Some(token),
        (false, None) => {
            let text = format!("{address} is not a loopback address");
            return Err(Failure::new(ExitCode::Usage, text)
                .next("give a token to show for metrics: --token-file FILE"));
        }
    };
    let exposition: Exposition = Arc::new(move || {
        let agent = Arc::clone(&agent);
        Box::pin(async move { crate::metrics::of_a_node_alone(&agent.view().await) })
    });
    let bound = Exposed::bind(address, token, base_telemetry::CONTENT_TYPE, exposition).await;
    let exposed = bound.map_err(|error| failed(&error).next("choose another with --metrics"))?;
    tracing::info!(address = %exposed.address(), "metrics are served");
    Ok(Some(exposed))
}

/// Starts what runs functions, and says what stands between them and this host.
pub(crate) fn start(config: AgentConfig, options: &NodeOptions) -> Result<Agent, Failure> {
    let agent = Agent::start(config).map_err(|error| failed(&error))?;
    let held = layers::look(&agent.control_groups()).map_err(|why| {
        Failure::new(
            ExitCode::Unsupported,
            format!("no sandbox can be made: {why}"),
        )
        .next("rekindle doctor")
    })?;
    let exposure = match options.insecure {
        true => Exposure::Accepted,
        false => Exposure::Refused,
    };
    layers::require(&held, &options.require, exposure)?;
    for line in Summary(&held).to_string().lines() {
        tracing::info!("{line}");
    }
    Ok(agent)
}

/// The token in a file.
pub(crate) fn token(path: &Path) -> Result<Token, Failure> {
    Token::read(path).map_err(|error| {
        Failure::from_error(ExitCode::Usage, &error).next(format!(
            "make one with: (umask 077; head -c 32 /dev/urandom | base64 -w0 >{})",
            path.display()
        ))
    })
}

/// How functions are run in `directory`.
pub(crate) fn agent_config(
    directory: PathBuf,
    options: &NodeOptions,
) -> Result<AgentConfig, Failure> {
    let mut config = AgentConfig::new(directory).map_err(|error| failed(&error))?;
    config.pool.limits.idle = options.keep_idle.0;
    if let Some(snapshots) = &mut config.snapshots {
        snapshots.budget_bytes = options.snapshots.0;
    }
    config.templates = match options.templates {
        TemplateUse::On => node_agent::TemplateUse::On,
        TemplateUse::Off => node_agent::TemplateUse::Off,
    };
    config.cpu_weight = options.cpu_weight;
    config.platform = crate::platform::choice(options.platform);
    config.pool.limits.instances = options.instances as usize;
    config.pool.limits.memory_mb = options.memory.0 >> 20;
    Ok(config)
}
