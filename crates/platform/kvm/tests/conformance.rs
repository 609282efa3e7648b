//! The conformance suite, in virtual machines.

mod made;

mod on_kvm {
    use super::made::machine;

    platform_conformance::suite!(machine);
}
