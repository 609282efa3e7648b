//! `rekindle serve`: gateway, registry and node in one process.

use std::sync::Arc;

use edge_cli::{Failure, ServeArgs, SnapStart};
use proto_node::Node;

use crate::asked::Asked;
use crate::front::{self, failed};
use crate::node::{self, GRACE, agent_config};
use crate::owned::Owned;

pub(crate) async fn serve(args: &ServeArgs) -> Result<(), Failure> {
    let admittance = front::admittance(&args.api)?;
    let asked = Asked::listen().map_err(|error| failed(&error))?;
    let _owned = Owned::take(&args.api.data)?;
    let registry = front::registry(&args.api).await?;
    let mut config = agent_config(args.api.data.join("node"), &args.node)?;
    if args.api.snap_start == SnapStart::Never {
        config.snapshots = None;
    }
    let agent: Arc<dyn Node> = Arc::new(node::start(config, &args.node)?);
    front::serve(&args.api, admittance, registry, Arc::clone(&agent), &asked).await?;
    agent.drain(GRACE).await;
    Ok(())
}
