//! With which key a command signs what it asks, and whom it trusts.

use std::path::PathBuf;

use clap::Args;
use edge_keys::{AccessKey, Credentials};

use crate::failure::{ExitCode, Failure};

/// Region of a server that was told nothing else.
const REGION: &str = "us-east-1";

/// With which key to sign, and whom to trust.
#[derive(Args, Clone, Debug, Default)]
pub struct SigningArgs {
    /// File with the key to sign requests with, for a server that was started with --keys; the section that AWS_PROFILE
    /// names, else `default`, else the only one. Without it AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY say the key.
    #[arg(long, value_name = "FILE", env = "REKINDLE_KEY_FILE")]
    pub key_file: Option<PathBuf>,
    /// File with the certificate that vouches for a server whose address says https (PEM).
    #[arg(long, value_name = "FILE", env = "AWS_CA_BUNDLE")]
    pub ca_file: Option<PathBuf>,
}

impl SigningArgs {
    /// The key, none if there is nothing to sign with.
    ///
    /// # Errors
    /// When the file has none, or half of a key is given.
    pub(crate) fn credentials(&self) -> Result<Option<Credentials>, Failure> {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let region = variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION"));
        let region = region.unwrap_or_else(|| REGION.to_owned());
        if let Some(path) = &self.key_file {
            let profile = variable("AWS_PROFILE");
            let read = Credentials::read(path, profile.as_deref(), region);
            return read.map(Some).map_err(|error| {
                Failure::from_error(ExitCode::Usage, &error)
                    .next("`rekindle key ls --keys FILE` shows those there are; AWS_PROFILE chooses one by its name")
            });
        }
        match (
            variable("AWS_ACCESS_KEY_ID"),
            variable("AWS_SECRET_ACCESS_KEY"),
        ) {
            (Some(id), Some(secret)) => Ok(Some(Credentials {
                key: AccessKey {
                    id,
                    secret,
                    name: String::new(),
                    account: None,
                },
                region,
            })),
            (None, None) => Ok(None),
            _ => Err(Failure::new(ExitCode::Usage, "half of a key is given")
                .next("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or neither")),
        }
    }
}
