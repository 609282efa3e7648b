//! Settings of the registry.

use std::path::PathBuf;

/// Settings of the registry.
#[derive(Clone, Debug)]
pub struct Config {
    /// Directory that holds the database and the code; made if missing.
    pub data: PathBuf,
    /// Account in every ARN: twelve digits.
    pub account: String,
    /// Region in every ARN.
    pub region: String,
}

impl Config {
    /// The defaults for a data directory: account 000000000000 in us-east-1.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            account: "000000000000".to_owned(),
            region: "us-east-1".to_owned(),
        }
    }
}
