//! What KVM is good for on this host.

use edge_cli::{AFFORDABLE, PlatformArg, doctor};
use proto_sandbox::PlatformChoice;

/// The choice that was made; `auto` measures.
pub(crate) fn resolve(given: PlatformArg) -> PlatformArg {
    given.resolve(platform_kvm::exit_cost)
}

/// What came of a try, and what `auto` puts up with.
pub(crate) fn found() -> doctor::Kvm {
    match platform_kvm::exit_cost() {
        Ok(cost) => doctor::Kvm::Works {
            cost,
            affordable: AFFORDABLE,
        },
        Err(error) => doctor::Kvm::Missing(error.to_string()),
    }
}

/// The same for the agent.
pub(crate) fn choice(given: PlatformArg) -> PlatformChoice {
    resolve(given).into()
}
