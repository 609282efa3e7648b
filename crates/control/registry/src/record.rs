//! A version of a function as it is stored.

use std::collections::BTreeMap;

use base_clock::epoch_ms;
use proto_lambda::{FunctionArn, LoggingConfig, Qualifier};
use proto_node::{
    FRESH_VARIABLE, Isolation, PLATFORM_VARIABLE, PlatformDemand, Revision, SECRETS_VARIABLE,
    SNAPSHOT_VARIABLE, SnapStart, secret_names,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Config, SnapshotPolicy};

/// Version of the record's JSON form; later versions add members with defaults.
pub const RECORD_VERSION: u32 = 1;

/// Everything that is stored about `$LATEST` or a published version, apart from its code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionRecord {
    /// [`RECORD_VERSION`] of the writer.
    pub record_version: u32,
    /// Name of the function.
    pub name: String,
    /// Number of a published version; `None` for `$LATEST`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// Number of the newest version ever published; only in `$LATEST`.
    #[serde(default)]
    pub last_version: u64,
    /// Revision of `$LATEST` that was published; only in a version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published_from: Option<Revision>,
    /// Role ARN as given.
    pub role: String,
    /// Runtime identifier.
    pub runtime: String,
    /// Handler.
    pub handler: String,
    /// Free text.
    pub description: String,
    /// Seconds.
    pub timeout: u32,
    /// MiB.
    pub memory_mb: u32,
    /// MiB.
    pub ephemeral_storage_mb: u32,
    /// Variables; `None` if none were ever given, which the API tells apart from an empty map.
    pub environment: Option<BTreeMap<String, String>>,
    /// `Active` or `PassThrough`.
    pub tracing_mode: String,
    /// `None` or `PublishedVersions`.
    pub snap_start_apply_on: String,
    /// As given.
    pub logging: LoggingConfig,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// SHA-256 of the zip in hex.
    pub code_sha256: String,
    /// Bytes of the zip.
    pub code_size: u64,
    /// Bytes that it unpacks to; none if an older version wrote this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code_unpacked: Option<u64>,
    /// The API's revision id.
    pub revision_id: String,
    /// The node's revision.
    pub revision: Revision,
    /// Milliseconds since the Unix epoch.
    pub last_modified_ms: u64,
}

impl FunctionRecord {
    /// Gives it new identities: of the API's revision, of the node's, and of the moment.
    pub(crate) fn renew(&mut self) {
        self.revision_id = Uuid::new_v4().to_string();
        self.revision = Revision(Uuid::new_v4().to_string());
        self.last_modified_ms = epoch_ms();
    }

    /// Only published versions do.
    pub(crate) fn asks_for_snap_start(&self) -> bool {
        self.version.is_some() && self.snap_start_apply_on == "PublishedVersions"
    }

    /// Whether it starts from a snapshot: its own word counts more than the server's.
    pub(crate) fn snap_start(&self, policy: SnapshotPolicy) -> SnapStart {
        let variable = |name| self.variable(name);
        let asked = self.asks_for_snap_start()
            || variable(SNAPSHOT_VARIABLE) == Some("on")
            || self.isolation() == Isolation::PerEvent;
        // A runtime that one brings has its secrets from the start.
        let secretive = self.runtime.starts_with("provided")
            && variable(SECRETS_VARIABLE).is_some_and(|names| secret_names(names).next().is_some());
        let refused = secretive || variable(SNAPSHOT_VARIABLE) == Some("off");
        match policy {
            SnapshotPolicy::Always if !refused => SnapStart::On,
            SnapshotPolicy::Asked if asked && !refused => SnapStart::On,
            SnapshotPolicy::Always | SnapshotPolicy::Asked | SnapshotPolicy::Never => {
                SnapStart::Off
            }
        }
    }

    pub(crate) fn isolation(&self) -> Isolation {
        match self.variable(FRESH_VARIABLE) {
            Some("true") => Isolation::PerEvent,
            _ => Isolation::PerInstance,
        }
    }

    pub(crate) fn platform(&self) -> PlatformDemand {
        match self.variable(PLATFORM_VARIABLE) {
            Some("process") => PlatformDemand::Process,
            Some("kvm") => PlatformDemand::Kvm,
            _ => PlatformDemand::None,
        }
    }

    fn variable(&self, name: &str) -> Option<&str> {
        self.environment.as_ref()?.get(name).map(String::as_str)
    }

    /// `$LATEST` or the number.
    pub fn version_text(&self) -> String {
        match self.version {
            None => "$LATEST".to_owned(),
            Some(number) => number.to_string(),
        }
    }

    /// The qualifier that names exactly this version.
    pub fn qualifier(&self) -> Qualifier {
        match self.version {
            None => Qualifier::Latest,
            Some(number) => Qualifier::Version(number.to_string()),
        }
    }

    /// Log group: the one given, else `/aws/lambda/NAME`.
    pub fn log_group(&self) -> String {
        self.logging
            .log_group
            .clone()
            .unwrap_or_else(|| format!("/aws/lambda/{}", self.name))
    }

    pub(crate) fn logging_response(&self) -> LoggingConfig {
        let json = self.logging.log_format.as_deref() == Some("JSON");
        let level = |given: &Option<String>| {
            json.then(|| given.clone().unwrap_or_else(|| "INFO".to_owned()))
        };
        LoggingConfig {
            log_format: Some(if json { "JSON" } else { "Text" }.to_owned()),
            application_log_level: level(&self.logging.application_log_level),
            system_log_level: level(&self.logging.system_log_level),
            log_group: Some(self.log_group()),
        }
    }
}

/// ARN of a function of this registry.
pub(crate) fn arn(name: &str, qualifier: Option<&Qualifier>, config: &Config) -> String {
    FunctionArn {
        region: config.region.clone(),
        account: config.account.clone(),
        name: name.to_owned(),
        qualifier: qualifier.cloned(),
    }
    .to_string()
}

/// A change is meant for another revision than the latest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the latest revision is another")]
pub struct OtherRevision;

/// Refuses a change that is meant for another revision than the latest.
pub(crate) fn check_revision(latest: &str, wanted: Option<&str>) -> Result<(), OtherRevision> {
    match wanted {
        Some(wanted) if wanted != latest => Err(OtherRevision),
        _ => Ok(()),
    }
}
