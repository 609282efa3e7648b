//! Which tags and pages may be asked for.

use std::collections::BTreeMap;

use crate::{ApiError, Violations, limits};

fn is_tag_text(text: &str) -> bool {
    // `[\p{L}\p{Z}\p{N}_.:/=+\-@]*`: letters, numbers, separators and some signs.
    text.chars().all(|c| {
        c.is_alphanumeric() || (c.is_whitespace() && !c.is_control()) || "_.:/=+-@".contains(c)
    })
}

/// Checks keys and values of tags, and their number.
pub fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), ApiError> {
    let mut violations = Violations::default();
    for (key, value) in tags {
        if key.is_empty() || key.chars().count() > limits::TAG_KEY_CHARS || !is_tag_text(key) {
            let constraint = "Map keys must satisfy constraint: [Member must have length less than or equal to 128, \
                 Member must have length greater than or equal to 1, \
                 Member must satisfy regular expression pattern: ([\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]*)]";
            violations.add(key, "tags", constraint);
        }
        if value.chars().count() > limits::TAG_VALUE_CHARS || !is_tag_text(value) {
            let constraint = "Map value must satisfy constraint: [Member must have length less than or equal to 256, \
                 Member must have length greater than or equal to 0, \
                 Member must satisfy regular expression pattern: ([\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]*)]";
            violations.add(value, "tags", constraint);
        }
    }
    violations.into_result()?;
    if tags
        .keys()
        .any(|key| key.to_ascii_lowercase().starts_with("aws:"))
    {
        return Err(ApiError::invalid_parameter(
            "Tag keys that start with aws: are reserved.",
        ));
    }
    if tags.len() > limits::TAGS {
        return Err(ApiError::invalid_parameter(
            "Number of tags exceeds resource tag limit.",
        ));
    }
    Ok(())
}

/// Checks the keys of UntagResource.
pub fn check_tag_keys(keys: &[String]) -> Result<(), ApiError> {
    let mut violations = Violations::default();
    if keys.is_empty() {
        violations.missing("tagKeys");
    }
    violations.into_result()
}

/// Page size for a `MaxItems` of the query: the number wished for, at most [`limits::PAGE_ITEMS`].
pub fn check_page_size(max_items: Option<&str>) -> Result<usize, ApiError> {
    let Some(text) = max_items else {
        return Ok(limits::PAGE_ITEMS);
    };
    let mut violations = Violations::default();
    let parsed = text.parse::<i64>().ok();
    match parsed {
        Some(number) => violations.check_range(Some(number), "maxItems", limits::MAX_ITEMS),
        None => violations.add(text, "maxItems", "Member must be a number"),
    }
    violations.into_result()?;
    let wished = parsed
        .and_then(|number| usize::try_from(number).ok())
        .unwrap_or(limits::PAGE_ITEMS);
    Ok(wished.min(limits::PAGE_ITEMS))
}
