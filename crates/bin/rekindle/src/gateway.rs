//! `rekindle gateway`: the Lambda API, with functions on nodes elsewhere.

use std::collections::BTreeSet;
use std::sync::Arc;

use control_nodes::{Address, Nodes};
use edge_cli::{ExitCode, Failure, GatewayArgs};
use proto_node::Catalogue;

use crate::asked::Asked;
use crate::front::{self, failed};
use crate::node::token;
use crate::owned::Owned;

pub(crate) async fn gateway(args: &GatewayArgs) -> Result<(), Failure> {
    let admittance = front::admittance(&args.api)?;
    let usage = |error: &dyn std::error::Error| Failure::from_error(ExitCode::Usage, error);
    let addresses: Result<BTreeSet<Address>, _> = args.node.iter().map(|it| it.parse()).collect();
    let addresses = addresses.map_err(|error| usage(&error))?;
    let token = args.token_file.as_deref().map(token).transpose()?;
    let elsewhere = addresses.iter().find(|it| matches!(it, Address::Tcp(_)));
    if let (Some(address), None) = (elsewhere, &token) {
        let text = format!("{address} wants a token");
        return Err(Failure::new(ExitCode::Usage, text)
            .next("give the file that the node was started with: --token-file FILE"));
    }
    let asked = Asked::listen().map_err(|error| failed(&error))?;
    let _owned = Owned::take(&args.api.data)?;
    let registry = front::registry(&args.api).await?;
    let catalogue: Arc<dyn Catalogue> = Arc::clone(&registry) as _;
    let token = token.map(|token| token.as_str().to_owned());
    let nodes = Nodes::connect(addresses, token, catalogue).await;
    if nodes.connected().is_empty() {
        tracing::warn!("no node is there: events wait until one comes");
    }
    front::serve(&args.api, admittance, registry, Arc::new(nodes), &asked).await
}
