//! Aliases: requests with their checks, and what the API answers about them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{ApiError, Violations, limits, name::is_word};

/// Pattern of an alias name in the service model.
const ALIAS_PATTERN: &str = "(?!^[0-9]+$)([a-zA-Z0-9-_]+)";
/// Pattern of a version in the service model.
const VERSION_PATTERN: &str = r"(\$LATEST|[0-9]+)";

/// `RoutingConfig` of an alias.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RoutingConfig {
    /// Part of the traffic, 0 to 1, that goes to another version than the alias's own.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub additional_version_weights: BTreeMap<String, f64>,
}

/// Body of CreateAlias.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CreateAliasRequest {
    /// Required.
    pub name: Option<String>,
    /// Required: `$LATEST` or a number.
    pub function_version: Option<String>,
    /// Free text.
    pub description: Option<String>,
    /// A second version and its part of the traffic.
    pub routing_config: Option<RoutingConfig>,
}

/// Body of UpdateAlias: absent members stay as they are.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct UpdateAliasRequest {
    /// `$LATEST` or a number.
    pub function_version: Option<String>,
    /// Free text.
    pub description: Option<String>,
    /// Replaces the weights; empty ones remove them.
    pub routing_config: Option<RoutingConfig>,
    /// Must be the latest if given.
    pub revision_id: Option<String>,
}

/// An alias in an answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AliasConfiguration {
    /// ARN of the function with the alias as its qualifier.
    pub alias_arn: String,
    /// Name.
    pub name: String,
    /// `$LATEST` or a number.
    pub function_version: String,
    /// Free text.
    pub description: String,
    /// Only if a second version gets traffic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routing_config: Option<RoutingConfig>,
    /// Changes with every update.
    pub revision_id: String,
}

/// Answer of ListAliases.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListAliasesResponse {
    /// Where the next page starts, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_marker: Option<String>,
    /// One page, sorted by name.
    pub aliases: Vec<AliasConfiguration>,
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn check_name(name: &str, violations: &mut Violations) {
    violations.check_length(Some(name), "name", limits::QUALIFIER_CHARS);
    if !is_word(name) || is_number(name) {
        violations.add(
            name,
            "name",
            format_args!("Member must satisfy regular expression pattern: {ALIAS_PATTERN}"),
        );
    }
}

/// Checks the name in the path of an alias operation.
pub fn check_alias_name(name: &str) -> Result<(), ApiError> {
    let mut violations = Violations::default();
    check_name(name, &mut violations);
    violations.into_result()
}

/// Checks the form of a version that a client named; `member` is where it stands.
pub fn check_version(version: Option<&str>, violations: &mut Violations) {
    violations.check_length(version, "functionVersion", limits::VERSION_CHARS);
    if let Some(version) = version
        && version != "$LATEST"
        && !is_number(version)
    {
        violations.add(
            version,
            "functionVersion",
            format_args!("Member must satisfy regular expression pattern: {VERSION_PATTERN}"),
        );
    }
}

fn check_routing(routing: Option<&RoutingConfig>, violations: &mut Violations) {
    let Some(routing) = routing else { return };
    for (version, weight) in &routing.additional_version_weights {
        let shown = format!("{{{version}={weight:?}}}");
        let member = "routingConfig.additionalVersionWeights";
        if !is_number(version) || version.len() > limits::VERSION_CHARS {
            violations.add(
                &shown,
                member,
                "Map keys must satisfy constraint: [Member must have length less than or equal to 1024, \
                 Member must have length greater than or equal to 1, \
                 Member must satisfy regular expression pattern: [0-9]+, Member must not be null]",
            );
        }
        if !(0.0..=1.0).contains(weight) {
            violations.add(
                &shown,
                member,
                "Map value must satisfy constraint: [Member must have value less than or equal to 1.0, \
                 Member must have value greater than or equal to 0.0, Member must not be null]",
            );
        }
    }
}

fn check_routing_size(routing: Option<&RoutingConfig>) -> Result<(), ApiError> {
    if routing.is_some_and(|routing| routing.additional_version_weights.len() > 1) {
        return Err(ApiError::invalid_parameter(
            "Number of items in AdditionalVersionWeights cannot be greater than 1",
        ));
    }
    Ok(())
}

impl CreateAliasRequest {
    /// Checks everything that needs no look at the function.
    pub fn check(&self) -> Result<(), ApiError> {
        let mut violations = Violations::default();
        match self.name.as_deref() {
            Some(name) => check_name(name, &mut violations),
            None => violations.missing("name"),
        }
        if self.function_version.is_none() {
            violations.missing("functionVersion");
        }
        check_version(self.function_version.as_deref(), &mut violations);
        violations.check_length(
            self.description.as_deref(),
            "description",
            limits::DESCRIPTION_CHARS,
        );
        check_routing(self.routing_config.as_ref(), &mut violations);
        violations.into_result()?;
        check_routing_size(self.routing_config.as_ref())
    }
}

impl UpdateAliasRequest {
    /// Checks everything that needs no look at the function.
    pub fn check(&self) -> Result<(), ApiError> {
        let mut violations = Violations::default();
        check_version(self.function_version.as_deref(), &mut violations);
        violations.check_length(
            self.description.as_deref(),
            "description",
            limits::DESCRIPTION_CHARS,
        );
        check_routing(self.routing_config.as_ref(), &mut violations);
        violations.into_result()?;
        check_routing_size(self.routing_config.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn create(json: &str) -> Result<(), ApiError> {
        serde_json::from_str::<CreateAliasRequest>(json)
            .unwrap()
            .check()
    }

    #[test]
    fn what_is_no_alias_is_refused_in_the_words_of_aws() {
        create(r#"{"Name":"live","FunctionVersion":"$LATEST"}"#).unwrap();
        let refused = |json: &str| create(json).unwrap_err().message;
        assert_eq!(
            refused(r#"{"Name":"12","FunctionVersion":"1"}"#),
            "1 validation error detected: Value '12' at 'name' failed to satisfy constraint: \
             Member must satisfy regular expression pattern: (?!^[0-9]+$)([a-zA-Z0-9-_]+)"
        );
        assert!(refused("{}").starts_with("2 validation errors detected: "));
        assert!(
            refused(r#"{"Name":"a","FunctionVersion":"x"}"#)
                .contains(r"at 'functionVersion' failed")
        );
        assert_eq!(
            refused(
                r#"{"Name":"a","FunctionVersion":"1","RoutingConfig":{"AdditionalVersionWeights":{"1":2.0}}}"#
            ),
            "1 validation error detected: Value '{1=2.0}' at 'routingConfig.additionalVersionWeights' failed to \
             satisfy constraint: Map value must satisfy constraint: [Member must have value less than or equal to \
             1.0, Member must have value greater than or equal to 0.0, Member must not be null]"
        );
        assert_eq!(
            refused(
                r#"{"Name":"a","FunctionVersion":"1","RoutingConfig":{"AdditionalVersionWeights":{"2":0.1,"3":0.1}}}"#
            ),
            "Number of items in AdditionalVersionWeights cannot be greater than 1"
        );
    }
}
