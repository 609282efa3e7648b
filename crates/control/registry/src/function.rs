//! A version of a function in memory, and the two views of it: for API clients and for the node.

use std::{
    borrow::Cow,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use proto_lambda::{
    EnvironmentResponse, EphemeralStorage, FunctionConfiguration, FunctionState, LastUpdateStatus,
    Qualifier, RuntimeVersionConfig, SnapStartResponse, TracingConfig, last_modified,
};
use proto_node::{FunctionSpec, Revision, SnapStart};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{
    Config, FunctionRecord, Readiness, StoredCode,
    digest::{base64_of_hex, hex},
    readiness::Progress,
    record::arn,
};

/// A revision that no longer exists in the registry while instances of it may still run.
///
/// Tell the node to forget it, then give it to [`crate::Registry::collect`].
#[derive(Debug)]
#[must_use = "its code stays on disk until it is collected"]
pub struct Retired {
    /// What the node knows it as.
    pub revision: Revision,
    /// Keeps the code on disk.
    _code: Arc<StoredCode>,
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
    progress: Arc<Progress<Function>>,
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
            code: code.reference(),
            snap_start: record.snap_start(config.snapshots),
            isolation: record.isolation(),
            platform: record.platform(),
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
        Retired {
            revision: self.record.revision.clone(),
            _code: Arc::clone(&self.code),
        }
    }

    /// A configuration as the answer to a change shows it: not settled yet, with a revision id of its own.
    pub(crate) fn in_between(
        &self,
        qualifier: Option<&Qualifier>,
        phase: Phase,
    ) -> FunctionConfiguration {
        FunctionConfiguration {
            revision_id: Uuid::new_v4().to_string(),
            ..self.configuration(qualifier, phase)
        }
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
