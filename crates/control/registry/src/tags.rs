//! Tags of functions.

use std::collections::BTreeMap;

use proto_lambda::{ApiError, FunctionRef, TagResourceRequest, check_tag_keys, check_tags, limits};

use crate::{ChangeError, ListError, Registry};

/// A tag operation names its function by a full, unqualified ARN.
fn tagged(arn: &str) -> Result<FunctionRef, ApiError> {
    let wanted = FunctionRef::parse(arn, limits::NAMESPACED_NAME_CHARS)?;
    if wanted.region.is_none() || wanted.account.is_none() {
        let mut violations = proto_lambda::Violations::default();
        violations.add(arn, "resource", "Member must be the ARN of a function");
        violations.into_result()?;
    }
    if wanted.qualifier.is_some() {
        return Err(ApiError::invalid_parameter(
            "Tags on function aliases and versions are not supported. Please specify a function ARN.",
        ));
    }
    Ok(wanted)
}

impl Registry {
    /// ListTags.
    pub fn tags(&self, arn: &str) -> Result<BTreeMap<String, String>, ListError> {
        Ok(self.find(&tagged(arn)?)?.record.tags.clone())
    }

    /// TagResource.
    pub async fn tag(&self, arn: &str, request: TagResourceRequest) -> Result<(), ChangeError> {
        let wanted = tagged(arn)?;
        let mut violations = proto_lambda::Violations::default();
        if request.tags.is_none() {
            violations.missing("tags");
        }
        violations.into_result()?;
        let new = request.tags.unwrap_or_default();
        if new.is_empty() {
            return Err(ApiError::invalid_parameter(
                "An error occurred and the request cannot be processed.",
            )
            .into());
        }
        check_tags(&new)?;
        self.change_tags(&wanted, |tags| {
            tags.extend(new);
            check_tags(tags)
        })
        .await
    }

    /// UntagResource.
    pub async fn untag(&self, arn: &str, keys: &[String]) -> Result<(), ChangeError> {
        let wanted = tagged(arn)?;
        check_tag_keys(keys)?;
        self.change_tags(&wanted, |tags| {
            tags.retain(|key, _| !keys.contains(key));
            Ok(())
        })
        .await
    }
}
