//! Collects broken constraints and words them as AWS's request validation does.

use std::fmt::Display;

use crate::{ApiError, ErrorCode};

/// Broken constraints of one request; all of them are told at once.
#[derive(Debug, Default)]
pub struct Violations(Vec<String>);

impl Violations {
    /// Says that the value of `member` (its path with lower-case first letters) breaks `constraint`.
    pub fn add(&mut self, value: impl Display, member: &str, constraint: impl Display) {
        self.0.push(format!(
            "Value '{value}' at '{member}' failed to satisfy constraint: {constraint}"
        ));
    }

    /// Says that `member` is missing.
    pub fn missing(&mut self, member: &str) {
        self.0.push(format!(
            "Value null at '{member}' failed to satisfy constraint: Member must not be null"
        ));
    }

    /// Like [`Self::add`] for a value that must not be repeated in errors and logs.
    pub fn add_sensitive(&mut self, member: &str, constraint: impl Display) {
        self.0.push(format!(
            "Value at '{member}' failed to satisfy constraint: {constraint}"
        ));
    }

    /// Checks that an optional number lies in a closed range.
    pub fn check_range(&mut self, value: Option<i64>, member: &str, (low, high): (i64, i64)) {
        match value {
            Some(value) if value < low => {
                self.add(
                    value,
                    member,
                    format_args!("Member must have value greater than or equal to {low}"),
                );
            }
            Some(value) if value > high => {
                self.add(
                    value,
                    member,
                    format_args!("Member must have value less than or equal to {high}"),
                );
            }
            _ => {}
        }
    }

    /// Checks that an optional text has at most `most` characters.
    pub fn check_length(&mut self, value: Option<&str>, member: &str, most: usize) {
        if let Some(value) = value
            && value.chars().count() > most
        {
            self.add(
                value,
                member,
                format_args!("Member must have length less than or equal to {most}"),
            );
        }
    }

    /// Checks that an optional text is one of `allowed`.
    pub fn check_enum(&mut self, value: Option<&str>, member: &str, allowed: &[&str]) {
        if let Some(value) = value
            && !allowed.contains(&value)
        {
            let set = allowed.join(", ");
            self.add(
                value,
                member,
                format_args!("Member must satisfy enum value set: [{set}]"),
            );
        }
    }

    /// The error, if anything was broken.
    pub fn into_result(self) -> Result<(), ApiError> {
        let count = self.0.len();
        if count == 0 {
            return Ok(());
        }
        let plural = if count == 1 { "" } else { "s" };
        let list = self.0.join("; ");
        Err(ApiError::new(
            ErrorCode::VALIDATION,
            format!("{count} validation error{plural} detected: {list}"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_count_and_join() {
        let mut one = Violations::default();
        one.check_range(Some(901), "timeout", (1, 900));
        assert_eq!(
            one.into_result().unwrap_err().message,
            "1 validation error detected: Value '901' at 'timeout' failed to satisfy constraint: \
             Member must have value less than or equal to 900"
        );
        let mut two = Violations::default();
        two.missing("role");
        two.check_enum(Some("Tar"), "packageType", &["Zip", "Image"]);
        assert_eq!(
            two.into_result().unwrap_err().message,
            "2 validation errors detected: Value null at 'role' failed to satisfy constraint: Member must not be null; \
             Value 'Tar' at 'packageType' failed to satisfy constraint: Member must satisfy enum value set: [Zip, Image]"
        );
        assert!(Violations::default().into_result().is_ok());
    }
}
