//! The conformance suite, in virtual machines; says so and does nothing on hosts without KVM.

mod made;

use made::machine;

platform_conformance::suite!(machine if present);
