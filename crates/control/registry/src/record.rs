//! A version of a function as it is stored, and the two views of it: for API clients and for the node.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use proto_lambda::{
    EnvironmentResponse, EphemeralStorage, FunctionArn, FunctionConfiguration, FunctionState,
    LastUpdateStatus, LoggingConfig, Qualifier, RuntimeVersionConfig, SnapStartResponse,
    TracingConfig, last_modified,
};
use proto_node::{
    CodeLocation, FRESH_VARIABLE, FunctionSpec, Isolation, Revision, SECRETS_VARIABLE,
    SNAPSHOT_VARIABLE, SnapStart, secret_names,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    Config, Readiness, Retired, SnapshotPolicy, StoredCode, change::retire, readiness::Progress,
};

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
    /// The API's revision id.
    pub revision_id: String,
    /// The node's revision.
    pub revision: Revision,
    /// Milliseconds since the Unix epoch.
    pub last_modified_ms: u64,
}

/// At which moment of a change a configuration is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// In the answer to CreateFunction.
    Creating,
    /// In the answer to an update.
    Updating,
    /// At any other time.
    Settled,
    /// In a list, which leaves state out.
    Listed,
}

/// One version of a function in memory.
#[derive(Debug)]
pub struct Function {
    /// What is stored.
    pub record: FunctionRecord,
    /// What a node needs.
    pub spec: Arc<FunctionSpec>,
    /// Its code; keeps it on disk.
    pub code: Arc<StoredCode>,
    progress: Arc<Progress>,
}

impl Function {
    /// A revision that was made before.
    pub(crate) fn new(record: FunctionRecord, code: Arc<StoredCode>, config: &Config) -> Self {
        let spec = FunctionSpec {
            revision: record.revision.clone(),
            name: record.name.clone(),
            version: record.version_text(),
            arn: arn(&record.name, None, config),
            account: config.account.clone(),
            region: config.region.clone(),
            runtime: record.runtime.clone(),
            handler: record.handler.clone(),
            architecture: "x86_64".to_owned(),
            memory_mb: record.memory_mb,
            timeout: Duration::from_secs(record.timeout.into()),
            ephemeral_storage_mb: record.ephemeral_storage_mb,
            environment: record.environment.clone().unwrap_or_default(),
            code: CodeLocation {
                directory: code.directory().to_owned(),
                sha256: code.sha256().to_owned(),
            },
            snap_start: record.snap_start(config.snapshots),
            isolation: record.isolation(),
            log_group: record.log_group(),
        };
        Self {
            record,
            spec: Arc::new(spec),
            code,
            progress: Progress::ready(),
        }
    }

    /// A revision that is made now; `stand_in` takes its events until it is ready.
    pub(crate) fn renewed(
        record: FunctionRecord,
        code: Arc<StoredCode>,
        stand_in: Option<Arc<Function>>,
        config: &Config,
    ) -> Self {
        let mut function = Self::new(record, code, config);
        if function.spec.snap_start == SnapStart::On {
            function.progress = Progress::preparing(stand_in);
        }
        function
    }

    /// The same revision with another record.
    pub(crate) fn with_record(&self, record: FunctionRecord, config: &Config) -> Self {
        let mut function = Self::new(record, Arc::clone(&self.code), config);
        function.progress = Arc::clone(&self.progress);
        function
    }

    /// How far it is.
    pub fn readiness(&self) -> Readiness {
        self.progress.readiness()
    }

    /// Notes how its preparation ended; not stored, because a start of the server prepares nothing.
    pub fn settle(&self, readiness: Readiness) {
        self.progress.settle(readiness);
    }

    /// Resolves when its snapshot is made or given up.
    pub async fn settled(&self) {
        self.progress.settled().await;
    }

    /// Whether its snapshot is to be made and nobody has begun with it. The caller has, from now on.
    pub fn begin_preparing(&self) -> bool {
        self.progress.begin()
    }

    /// The revision before it, which takes its events while its snapshot is made.
    pub fn stand_in(&self) -> Option<Arc<Function>> {
        self.progress.stand_in()
    }

    /// Whether the client asked for it to start from a snapshot, in AWS's words.
    pub fn asks_for_snap_start(&self) -> bool {
        self.record.asks_for_snap_start()
    }

    /// What the node is to forget when there is no such revision any more.
    pub fn retired(&self) -> Retired {
        retire(self)
    }

    /// The configuration as clients see it; the ARN carries `qualifier` if one is given.
    pub fn configuration(
        &self,
        qualifier: Option<&Qualifier>,
        phase: Phase,
    ) -> FunctionConfiguration {
        let record = &self.record;
        let settled = phase == Phase::Settled;
        let listed = phase == Phase::Listed;
        let readiness = self.readiness();
        let preparing = settled && readiness == Readiness::Preparing;
        let replacing = preparing && self.stand_in().is_some();
        let pending = phase == Phase::Creating || (preparing && !replacing);
        let (unprepared, failed) = match readiness {
            Readiness::Without(reason) if settled => {
                let reason = format!("The function starts without a snapshot: {reason}");
                (Some(reason), false)
            }
            Readiness::Unprepared(reason) if settled => (Some(reason), true),
            _ => (None, false),
        };
        let updating = phase == Phase::Updating || replacing;
        let why = |now: bool, text: &'static str| now.then_some(text);
        FunctionConfiguration {
            function_name: record.name.clone(),
            function_arn: match qualifier {
                Some(qualifier) => format!("{}:{qualifier}", self.spec.arn),
                None => self.spec.arn.clone(),
            },
            runtime: record.runtime.clone(),
            role: record.role.clone(),
            handler: record.handler.clone(),
            code_size: record.code_size,
            description: record.description.clone(),
            timeout: record.timeout,
            memory_size: record.memory_mb,
            last_modified: last_modified(
                UNIX_EPOCH + Duration::from_millis(record.last_modified_ms),
            ),
            code_sha256: base64_of_hex(&record.code_sha256),
            version: record.version_text(),
            environment: record
                .environment
                .clone()
                .map(|variables| EnvironmentResponse { variables }),
            tracing_config: TracingConfig {
                mode: Some(record.tracing_mode.clone()),
            },
            revision_id: record.revision_id.clone(),
            state: (!listed).then_some(if pending {
                FunctionState::Pending
            } else {
                FunctionState::Active
            }),
            state_reason_code: why(failed, "FunctionError").or_else(|| why(pending, "Creating")),
            state_reason: unprepared
                .map(Cow::Owned)
                .or_else(|| why(pending, "The function is being created.").map(Cow::Borrowed)),
            last_update_status: match phase {
                Phase::Settled if pending => None,
                Phase::Settled if !replacing => Some(LastUpdateStatus::Successful),
                Phase::Settled | Phase::Updating => Some(LastUpdateStatus::InProgress),
                Phase::Creating | Phase::Listed => None,
            },
            last_update_status_reason: why(updating, "The function is being created."),
            last_update_status_reason_code: why(updating, "Creating"),
            package_type: "Zip",
            architectures: vec![self.spec.architecture.clone()],
            ephemeral_storage: EphemeralStorage {
                size: record.ephemeral_storage_mb.into(),
            },
            snap_start: SnapStartResponse {
                apply_on: record.snap_start_apply_on.clone(),
                optimization_status: "Off",
            },
            runtime_version_config: (settled || pending || updating).then(|| {
                RuntimeVersionConfig {
                    runtime_version_arn: format!(
                        "arn:aws:lambda:{}::runtime:{}",
                        self.spec.region,
                        hex(&Sha256::digest(record.runtime.as_bytes()))
                    ),
                }
            }),
            logging_config: record.logging_response(),
        }
    }
}

impl FunctionRecord {
    /// Only published versions do.
    fn asks_for_snap_start(&self) -> bool {
        self.version.is_some() && self.snap_start_apply_on == "PublishedVersions"
    }

    /// Whether it starts from a snapshot: its own word counts more than the server's.
    fn snap_start(&self, policy: SnapshotPolicy) -> SnapStart {
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

    fn isolation(&self) -> Isolation {
        match self.variable(FRESH_VARIABLE) {
            Some("true") => Isolation::PerEvent,
            _ => Isolation::PerInstance,
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

    fn logging_response(&self) -> LoggingConfig {
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

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// `CodeSha256` is base64 of the hash that we keep in hex.
pub(crate) fn base64_of_hex(text: &str) -> String {
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or(0) as u8;
    let bytes: Vec<u8> = text
        .as_bytes()
        .as_chunks::<2>()
        .0
        .iter()
        .map(|[high, low]| digit(*high) << 4 | digit(*low))
        .collect();
    BASE64_STANDARD.encode(bytes)
}
