//! The conformance suite, on stub processes.

fn make() -> platform_process::ProcessPlatform {
    platform_process::ProcessPlatform::new().expect("this host runs stub processes")
}

platform_conformance::suite!(make);
