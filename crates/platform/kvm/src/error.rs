//! What the host says, as errors of the platform.

use platform_api::PlatformError;

/// Turns what the host said into an error of the platform.
pub(crate) fn refused(what: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> PlatformError {
    move |error| PlatformError::Host {
        what,
        source: std::io::Error::from_raw_os_error(error.errno()),
    }
}
