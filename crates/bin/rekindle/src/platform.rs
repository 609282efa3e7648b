//! Which platform runs guests when the host is to be asked.

use std::time::Duration;

use edge_cli::{PlatformArg, doctor};
use proto_sandbox::PlatformChoice;

/// A system call through a virtual machine may cost so much where `auto` takes it; through a stub process it costs about 2 us.
const AFFORDABLE: Duration = Duration::from_micros(10);

/// The choice that was made; `auto` measures, and says what came of it.
pub(crate) fn resolve(given: PlatformArg) -> PlatformArg {
    if given != PlatformArg::Auto {
        return given;
    }
    match platform_kvm::exit_cost() {
        Ok(cost) if cost <= AFFORDABLE => {
            eprintln!("rekindle: platform kvm: a guest's call costs {cost:.1?}");
            PlatformArg::Kvm
        }
        Ok(cost) => {
            eprintln!(
                "rekindle: platform process: a guest's call would cost {cost:.1?} on kvm, more than {AFFORDABLE:?}"
            );
            PlatformArg::Process
        }
        Err(error) => {
            eprintln!("rekindle: platform process: no kvm: {error}");
            PlatformArg::Process
        }
    }
}

/// What KVM is good for on this host, and which platform `auto` takes.
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
