//! `rekindle node`: what runs functions, for gateways elsewhere.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use edge_cli::{ExitCode, Failure, NodeArgs, NodeOptions, TemplateUse};
use node_agent::{Agent, AgentConfig};
use node_serve::{ListenAddress, Server, Token};
use proto_node::Node;
use tokio::sync::watch;

use crate::front::{failed, say, stop};
use crate::owned::Owned;

/// How long instances get to end at shutdown.
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
    let _owned = Owned::take(&args.data)?;
    let config = agent_config(args.data.clone(), &args.node)?;
    let agent: Arc<dyn Node> = Arc::new(Agent::start(config).map_err(|error| failed(&error))?);
    let server = Server::bind(&place, token, Arc::clone(&agent)).await;
    let server = server.map_err(|error| {
        failed(&error).next("is another node there? choose another place with --socket or --listen")
    })?;
    say(&format!("a node listens at {}", server.place()));
    let (stopping, stopped) = watch::channel(());
    let told = async move {
        stop().await;
        drop(stopping);
    };
    // Events that wait are turned away at once, so that gateways run them elsewhere; those that run may end.
    let mut until = stopped.clone();
    let draining = async {
        let _ = until.changed().await;
        agent.drain(GRACE).await;
    };
    let mut until = stopped;
    let serving = server.run(async move {
        let _ = until.changed().await;
    });
    tokio::join!(told, draining, serving);
    Ok(())
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
    config.platform = crate::platform::choice(options.platform);
    config.pool.limits.instances = options.instances as usize;
    config.pool.limits.memory_mb = options.memory.0 >> 20;
    Ok(config)
}
