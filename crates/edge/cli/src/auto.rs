//! Which platform `--platform auto` takes. Programs that link one measure it; nothing here knows how.

use std::fmt;
use std::time::Duration;

use crate::values::PlatformArg;

/// A system call through a virtual machine may cost so much where `auto` takes it; through a stub process it costs about 2 us.
pub const AFFORDABLE: Duration = Duration::from_micros(10);

impl PlatformArg {
    /// The choice that was made; `auto` measures what a guest's system call costs on KVM, and says what came of it.
    #[must_use]
    pub fn resolve<E: fmt::Display>(
        self,
        cost_on_kvm: impl FnOnce() -> Result<Duration, E>,
    ) -> PlatformArg {
        if self != PlatformArg::Auto {
            return self;
        }
        match cost_on_kvm() {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_takes_kvm_where_it_is_cheap_enough() {
        let auto = |cost: Result<u64, &'static str>| {
            PlatformArg::Auto.resolve(|| cost.map(Duration::from_micros))
        };
        assert_eq!(auto(Ok(10)), PlatformArg::Kvm);
        assert_eq!(auto(Ok(11)), PlatformArg::Process);
        assert_eq!(auto(Err("no such file")), PlatformArg::Process);
        let asked = PlatformArg::Kvm.resolve(|| Err::<Duration, _>("not measured"));
        assert_eq!(asked, PlatformArg::Kvm);
    }
}
