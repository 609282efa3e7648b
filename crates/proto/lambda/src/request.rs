//! Bodies of requests as they arrive; `validate.rs` says which are acceptable.
//!
//! Members that mean something this server does not do are kept as raw JSON, so that an empty
//! value (which clients like to send) can be told from one that asks for something.

use std::{collections::BTreeMap, fmt};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;

/// A decoded `ZipFile` member.
#[derive(Clone, PartialEq, Eq)]
pub struct Zip(pub Bytes);

impl fmt::Debug for Zip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Zip({} bytes)", self.0.len())
    }
}

impl<'de> Deserialize<'de> for Zip {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Base64;
        impl de::Visitor<'_> for Base64 {
            type Value = Zip;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a zip file in base64")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Zip, E> {
                let bytes = BASE64_STANDARD
                    .decode(text)
                    .map_err(|error| E::custom(format!("ZipFile: {error}")))?;
                Ok(Zip(bytes.into()))
            }
        }
        deserializer.deserialize_str(Base64)
    }
}

/// `Environment` in a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Environment {
    /// All variables; absent means none.
    #[serde(default)]
    pub variables: Option<BTreeMap<String, String>>,
}

/// `EphemeralStorage`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct EphemeralStorage {
    /// MiB of `/tmp`.
    pub size: i64,
}

/// `TracingConfig`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TracingConfig {
    /// `Active` or `PassThrough`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
}

/// `SnapStart` in a request.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SnapStartRequest {
    /// `PublishedVersions` or `None`.
    #[serde(default)]
    pub apply_on: Option<String>,
}

/// `LoggingConfig`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct LoggingConfig {
    /// `Text` or `JSON`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_format: Option<String>,
    /// Only with `JSON`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application_log_level: Option<String>,
    /// Only with `JSON`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_log_level: Option<String>,
    /// Log group name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_group: Option<String>,
}

/// Where code comes from.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct FunctionCode {
    /// The zip itself.
    pub zip_file: Option<Zip>,
    /// Not supported.
    pub s3_bucket: Option<String>,
    /// Not supported.
    pub s3_key: Option<String>,
    /// Not supported.
    pub s3_object_version: Option<String>,
    /// Not supported.
    pub image_uri: Option<String>,
    /// Not supported.
    #[serde(rename = "SourceKMSKeyArn")]
    pub source_kms_key_arn: Option<String>,
}

/// Body of CreateFunction.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CreateFunctionRequest {
    /// Required.
    pub function_name: Option<String>,
    /// Required.
    pub role: Option<String>,
    /// Required.
    pub code: Option<FunctionCode>,
    /// Required for zip packages.
    pub runtime: Option<String>,
    /// Required for zip packages.
    pub handler: Option<String>,
    /// Free text.
    pub description: Option<String>,
    /// Seconds.
    pub timeout: Option<i64>,
    /// MiB.
    pub memory_size: Option<i64>,
    /// Publish the first version too.
    pub publish: Option<bool>,
    /// `Zip`.
    pub package_type: Option<String>,
    /// Variables.
    pub environment: Option<Environment>,
    /// Kept, without effect.
    pub tracing_config: Option<TracingConfig>,
    /// Tags.
    pub tags: Option<BTreeMap<String, String>>,
    /// At most one entry.
    pub architectures: Option<Vec<String>>,
    /// Size of `/tmp`.
    pub ephemeral_storage: Option<EphemeralStorage>,
    /// Which versions start from a snapshot.
    pub snap_start: Option<SnapStartRequest>,
    /// Log format and group.
    pub logging_config: Option<LoggingConfig>,
    /// Everything else, see [`crate::validate`].
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// Body of UpdateFunctionCode.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct UpdateFunctionCodeRequest {
    /// Where the code comes from.
    #[serde(flatten)]
    pub code: FunctionCode,
    /// At most one entry.
    pub architectures: Option<Vec<String>>,
    /// Publish a version of the new code.
    pub publish: Option<bool>,
    /// Check everything, change nothing.
    pub dry_run: Option<bool>,
    /// Must be the latest if given.
    pub revision_id: Option<String>,
}

/// Body of UpdateFunctionConfiguration: absent members stay as they are.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct UpdateFunctionConfigurationRequest {
    /// Role ARN.
    pub role: Option<String>,
    /// Runtime identifier.
    pub runtime: Option<String>,
    /// Handler.
    pub handler: Option<String>,
    /// Free text.
    pub description: Option<String>,
    /// Seconds.
    pub timeout: Option<i64>,
    /// MiB.
    pub memory_size: Option<i64>,
    /// Replaces all variables.
    pub environment: Option<Environment>,
    /// Kept, without effect.
    pub tracing_config: Option<TracingConfig>,
    /// Size of `/tmp`.
    pub ephemeral_storage: Option<EphemeralStorage>,
    /// Which versions start from a snapshot.
    pub snap_start: Option<SnapStartRequest>,
    /// Log format and group.
    pub logging_config: Option<LoggingConfig>,
    /// Must be the latest if given.
    pub revision_id: Option<String>,
    /// Everything else, see [`crate::validate`].
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// Body of PublishVersion.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PublishVersionRequest {
    /// Must be the hash of the code of `$LATEST` if given and not empty.
    pub code_sha256: Option<String>,
    /// Replaces the description in the version.
    pub description: Option<String>,
    /// Must be the latest if given.
    pub revision_id: Option<String>,
    /// Not supported.
    pub publish_to: Option<String>,
}

/// Body of TagResource.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TagResourceRequest {
    /// Tags to add or replace.
    pub tags: Option<BTreeMap<String, String>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flattened_body_keeps_zip_and_unknown_members_apart() {
        let update: UpdateFunctionCodeRequest =
            serde_json::from_str(r#"{"ZipFile":"UEs=","DryRun":true,"S3Bucket":null}"#).unwrap();
        assert_eq!(update.code.zip_file, Some(Zip(Bytes::from_static(b"PK"))));
        assert_eq!(update.dry_run, Some(true));
        let create: CreateFunctionRequest = serde_json::from_str(
            r#"{"FunctionName":"f","Layers":[],"VpcConfig":{"SubnetIds":[]}}"#,
        )
        .unwrap();
        assert_eq!(create.function_name.as_deref(), Some("f"));
        assert!(create.other.contains_key("Layers"));
        assert!(serde_json::from_str::<UpdateFunctionCodeRequest>(r#"{"ZipFile":"%%%"}"#).is_err());
    }
}
