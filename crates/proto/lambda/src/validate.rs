//! Which requests are acceptable, in the order in which AWS checks them: shapes first, then values.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    ApiError, CreateFunctionRequest, Environment, FunctionCode, UpdateFunctionCodeRequest,
    UpdateFunctionConfigurationRequest, Violations, check_runtime, environment, limits,
    name::is_role_arn,
    request::{EphemeralStorage, LoggingConfig, SnapStartRequest, TracingConfig},
    tags,
};

const ARCHITECTURES: &[&str] = &["x86_64", "arm64"];
const ROLE_PATTERN: &str = r"arn:(aws[a-zA-Z-]*)?:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+";
const LOG_GROUP_PATTERN: &str = r"[\.\-_/#A-Za-z0-9]+";

/// Members that ask for something this server does not do, unless they are empty.
const UNSUPPORTED_MEMBERS: &[&str] = &[
    "AcceleratorConfig",
    "CapacityProviderConfig",
    "CodeSigningConfigArn",
    "DeadLetterConfig",
    "DurableConfig",
    "FileSystemConfigs",
    "ImageConfig",
    "KMSKeyArn",
    "Layers",
    "PublishTo",
    "RuntimeConfig",
    "TenancyConfig",
    "VpcConfig",
];

/// The members that creation and update of a configuration share.
struct Shared<'a> {
    role: Option<&'a str>,
    handler: Option<&'a str>,
    description: Option<&'a str>,
    timeout: Option<i64>,
    memory_size: Option<i64>,
    ephemeral_storage: Option<EphemeralStorage>,
    environment: Option<&'a Environment>,
    tracing: Option<&'a TracingConfig>,
    snap_start: Option<&'a SnapStartRequest>,
    logging: Option<&'a LoggingConfig>,
}

impl Shared<'_> {
    fn check_shape(&self, violations: &mut Violations) {
        if let Some(role) = self.role
            && !is_role_arn(role)
        {
            let pattern =
                format_args!("Member must satisfy regular expression pattern: {ROLE_PATTERN}");
            violations.add(role, "role", pattern);
        }
        violations.check_length(self.handler, "handler", limits::HANDLER_CHARS);
        if let Some(handler) = self.handler
            && handler.chars().any(char::is_whitespace)
        {
            violations.add(
                handler,
                "handler",
                r"Member must satisfy regular expression pattern: [^\s]+",
            );
        }
        violations.check_length(self.description, "description", limits::DESCRIPTION_CHARS);
        violations.check_range(self.timeout, "timeout", limits::TIMEOUT_SECONDS);
        violations.check_range(self.memory_size, "memorySize", limits::MEMORY_MB);
        let storage = self.ephemeral_storage.map(|storage| storage.size);
        violations.check_range(
            storage,
            "ephemeralStorage.size",
            limits::EPHEMERAL_STORAGE_MB,
        );
        let mode = self.tracing.and_then(|tracing| tracing.mode.as_deref());
        violations.check_enum(mode, "tracingConfig.mode", &["Active", "PassThrough"]);
        let apply_on = self
            .snap_start
            .and_then(|snap_start| snap_start.apply_on.as_deref());
        violations.check_enum(
            apply_on,
            "snapStart.applyOn",
            &["PublishedVersions", "None"],
        );
        if let Some(logging) = self.logging {
            check_logging_shape(logging, violations);
        }
        if let Some(environment) = self.environment {
            environment::check_names(environment, violations);
        }
    }

    fn check_values(&self, other: &BTreeMap<String, Value>) -> Result<(), ApiError> {
        if let Some(logging) = self.logging {
            check_logging_values(logging)?;
        }
        if let Some(environment) = self.environment {
            environment::check_environment(environment)?;
        }
        check_unsupported(other)
    }
}

fn check_logging_shape(logging: &LoggingConfig, violations: &mut Violations) {
    violations.check_enum(
        logging.log_format.as_deref(),
        "loggingConfig.logFormat",
        &["JSON", "Text"],
    );
    let levels = &["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];
    violations.check_enum(
        logging.application_log_level.as_deref(),
        "loggingConfig.applicationLogLevel",
        levels,
    );
    violations.check_enum(
        logging.system_log_level.as_deref(),
        "loggingConfig.systemLogLevel",
        &["DEBUG", "INFO", "WARN"],
    );
    violations.check_length(
        logging.log_group.as_deref(),
        "loggingConfig.logGroup",
        limits::LOG_GROUP_CHARS,
    );
    if let Some(group) = logging.log_group.as_deref()
        && (group.is_empty()
            || !group
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b".-_/#".contains(&byte)))
    {
        let pattern =
            format_args!("Member must satisfy regular expression pattern: {LOG_GROUP_PATTERN}");
        violations.add(group, "loggingConfig.logGroup", pattern);
    }
}

fn check_logging_values(logging: &LoggingConfig) -> Result<(), ApiError> {
    let levels = logging.application_log_level.is_some() || logging.system_log_level.is_some();
    if levels && logging.log_format.as_deref() != Some("JSON") {
        return Err(ApiError::invalid_parameter(
            "To use ApplicationLogLevel or SystemLogLevel, you must set LogFormat to JSON.",
        ));
    }
    Ok(())
}

/// Whether a JSON value asks for anything: null, empty text, lists and objects of such do not.
fn asks_for_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members
            .values()
            .all(|member| asks_for_nothing(member) || member == false),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

fn check_unsupported(other: &BTreeMap<String, Value>) -> Result<(), ApiError> {
    for (member, value) in other {
        if UNSUPPORTED_MEMBERS.contains(&member.as_str()) && !asks_for_nothing(value) {
            return Err(ApiError::invalid_parameter(format!(
                "Rekindle does not support {member} yet."
            )));
        }
    }
    Ok(())
}

fn check_architectures(architectures: Option<&[String]>, violations: &mut Violations) {
    let Some(list) = architectures else { return };
    let shown = format!("[{}]", list.join(", "));
    if list.len() > 1 {
        violations.add(
            &shown,
            "architectures",
            "Member must have length less than or equal to 1",
        );
    } else if list.is_empty() {
        violations.add(
            &shown,
            "architectures",
            "Member must have length greater than or equal to 1",
        );
    } else if !list
        .iter()
        .all(|item| ARCHITECTURES.contains(&item.as_str()))
    {
        let set = ARCHITECTURES.join(", ");
        violations.add(
            &shown,
            "architectures",
            format_args!(
                "Member must satisfy constraint: [Member must satisfy enum value set: [{set}], Member must not be null]"
            ),
        );
    }
}

fn check_architecture_runs(architectures: Option<&[String]>) -> Result<(), ApiError> {
    match architectures {
        Some([only]) if only != "x86_64" => Err(ApiError::invalid_parameter(format!(
            "Architecture {only} is not supported on this server; use x86_64."
        ))),
        _ => Ok(()),
    }
}

impl FunctionCode {
    /// The zip, or an error that says what to send instead.
    fn check(&self) -> Result<(), ApiError> {
        if self.s3_bucket.is_some() || self.s3_key.is_some() || self.s3_object_version.is_some() {
            return Err(ApiError::invalid_parameter(
                "Rekindle does not read code from S3 yet; send the zip inline as ZipFile.",
            ));
        }
        if self.image_uri.is_some() {
            return Err(ApiError::invalid_parameter(
                "Rekindle does not run container images yet; send a zip as ZipFile.",
            ));
        }
        if self
            .source_kms_key_arn
            .as_deref()
            .is_some_and(|key| !key.is_empty())
        {
            return Err(ApiError::invalid_parameter(
                "Rekindle does not support SourceKMSKeyArn yet.",
            ));
        }
        match &self.zip_file {
            None => Err(ApiError::invalid_parameter(
                "Please provide a source for function code.",
            )),
            Some(zip) if zip.0.len() as u64 > limits::ZIPPED_BYTES => {
                Err(ApiError::invalid_parameter(format!(
                    "Zipped size must be smaller than {} bytes",
                    limits::ZIPPED_BYTES
                )))
            }
            Some(_) => Ok(()),
        }
    }
}

impl CreateFunctionRequest {
    /// Checks everything but the function's name and the zip's content.
    pub fn check(&self) -> Result<(), ApiError> {
        let shared = Shared {
            role: self.role.as_deref(),
            handler: self.handler.as_deref(),
            description: self.description.as_deref(),
            timeout: self.timeout,
            memory_size: self.memory_size,
            ephemeral_storage: self.ephemeral_storage,
            environment: self.environment.as_ref(),
            tracing: self.tracing_config.as_ref(),
            snap_start: self.snap_start.as_ref(),
            logging: self.logging_config.as_ref(),
        };
        let mut violations = Violations::default();
        for (member, present) in [
            ("functionName", self.function_name.is_some()),
            ("role", self.role.is_some()),
            ("code", self.code.is_some()),
        ] {
            if !present {
                violations.missing(member);
            }
        }
        shared.check_shape(&mut violations);
        violations.check_enum(
            self.package_type.as_deref(),
            "packageType",
            &["Zip", "Image"],
        );
        check_architectures(self.architectures.as_deref(), &mut violations);
        violations.into_result()?;

        if self.package_type.as_deref() == Some("Image") {
            return Err(ApiError::invalid_parameter(
                "Rekindle does not run container images yet; use PackageType Zip.",
            ));
        }
        if let Some(code) = &self.code {
            code.check()?;
        }
        let (Some(runtime), Some(_)) = (&self.runtime, &self.handler) else {
            return Err(ApiError::invalid_parameter(
                "Runtime and Handler are mandatory parameters for functions created with deployment packages.",
            ));
        };
        check_runtime(runtime)?;
        check_architecture_runs(self.architectures.as_deref())?;
        if let Some(tags) = &self.tags {
            tags::check_tags(tags)?;
        }
        shared.check_values(&self.other)
    }
}

impl UpdateFunctionConfigurationRequest {
    /// Checks everything.
    pub fn check(&self) -> Result<(), ApiError> {
        let shared = Shared {
            role: self.role.as_deref(),
            handler: self.handler.as_deref(),
            description: self.description.as_deref(),
            timeout: self.timeout,
            memory_size: self.memory_size,
            ephemeral_storage: self.ephemeral_storage,
            environment: self.environment.as_ref(),
            tracing: self.tracing_config.as_ref(),
            snap_start: self.snap_start.as_ref(),
            logging: self.logging_config.as_ref(),
        };
        let mut violations = Violations::default();
        shared.check_shape(&mut violations);
        violations.into_result()?;
        if let Some(runtime) = &self.runtime {
            check_runtime(runtime)?;
        }
        shared.check_values(&self.other)
    }
}

impl UpdateFunctionCodeRequest {
    /// Checks everything but the zip's content.
    pub fn check(&self) -> Result<(), ApiError> {
        let mut violations = Violations::default();
        check_architectures(self.architectures.as_deref(), &mut violations);
        violations.into_result()?;
        self.code.check()?;
        check_architecture_runs(self.architectures.as_deref())
    }
}
