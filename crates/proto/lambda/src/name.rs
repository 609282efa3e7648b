//! Names of functions: plain, with qualifier, partial ARN, full ARN.

use std::fmt;

use crate::{ApiError, Violations, limits};

/// Pattern of `FunctionName` in the service model, as validation errors quote it.
const NAME_PATTERN: &str = r"(arn:(aws[a-zA-Z-]*)?:lambda:)?((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:)?(\d{12}:)?(function:)?([a-zA-Z0-9-_]+)(:(\$LATEST|[a-zA-Z0-9-_]+))?";
/// Pattern of a qualifier in the service model.
const QUALIFIER_PATTERN: &str = r"\$(LATEST(\.PUBLISHED)?)|[a-zA-Z0-9-_$]+";

/// Which version of a function is meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Qualifier {
    /// `$LATEST`
    Latest,
    /// A published version's number.
    Version(String),
    /// An alias, or a word that is the name of none.
    Alias(String),
}

impl Qualifier {
    fn parse(text: &str) -> Option<Self> {
        if text == "$LATEST" {
            Some(Self::Latest)
        } else if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            Some(Self::Version(text.to_owned()))
        } else if is_word(text) || text == "$LATEST.PUBLISHED" {
            Some(Self::Alias(text.to_owned()))
        } else {
            None
        }
    }
}

impl fmt::Display for Qualifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("$LATEST"),
            Self::Version(text) | Self::Alias(text) => f.write_str(text),
        }
    }
}

/// How a client named a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionRef {
    /// Region, if the name had one.
    pub region: Option<String>,
    /// Account, if the name had one.
    pub account: Option<String>,
    /// The function's own name.
    pub name: String,
    /// Version or alias, if given.
    pub qualifier: Option<Qualifier>,
}

impl FunctionRef {
    /// Parses any of the forms that the API takes. `most` is the longest text allowed,
    /// [`limits::NAME_OR_ARN_CHARS`] or [`limits::NAMESPACED_NAME_CHARS`].
    pub fn parse(text: &str, most: usize) -> Result<Self, ApiError> {
        let parsed = Self::split(text);
        let mut violations = Violations::default();
        violations.check_length(Some(text), "functionName", most);
        match &parsed {
            Some(parsed) => {
                violations.check_length(Some(&parsed.name), "functionName", limits::NAME_CHARS)
            }
            None => violations.add(
                text,
                "functionName",
                format_args!("Member must satisfy regular expression pattern: {NAME_PATTERN}"),
            ),
        }
        violations.into_result()?;
        // Without a parse there was a violation, so the error below is never seen.
        parsed.ok_or_else(|| ApiError::invalid_parameter("The function name is not valid."))
    }

    /// Adds the `Qualifier` of the query; it must agree with the one in the name.
    pub fn qualified(mut self, query: Option<&str>) -> Result<Self, ApiError> {
        let Some(text) = query else { return Ok(self) };
        let mut violations = Violations::default();
        violations.check_length(Some(text), "qualifier", limits::QUALIFIER_CHARS);
        let parsed = Qualifier::parse(text);
        if parsed.is_none() {
            violations.add(
                text,
                "qualifier",
                format_args!("Member must satisfy regular expression pattern: {QUALIFIER_PATTERN}"),
            );
        }
        violations.into_result()?;
        if self.qualifier.is_some() && self.qualifier != parsed {
            return Err(ApiError::invalid_parameter(
                "The derived qualifier from the function name does not match the specified qualifier.",
            ));
        }
        self.qualifier = parsed;
        Ok(self)
    }

    /// The same function, `$LATEST` by default.
    pub fn without_qualifier(self) -> Self {
        Self {
            qualifier: None,
            ..self
        }
    }

    /// `None` if the text has none of the forms.
    fn split(text: &str) -> Option<Self> {
        let mut parts = text.split(':').peekable();
        // A prefix counts only while something follows it: "function" alone is a name.
        let more =
            |parts: &std::iter::Peekable<std::str::Split<'_, char>>| parts.clone().nth(1).is_some();
        if parts.peek() == Some(&"arn") && more(&parts) {
            parts.next();
            if !is_partition(parts.next()?) || parts.next()? != "lambda" {
                return None;
            }
        }
        let mut take = |accepts: fn(&str) -> bool| {
            if more(&parts) {
                parts.next_if(|part| accepts(part)).map(str::to_owned)
            } else {
                None
            }
        };
        let region = take(is_region);
        let account = take(is_account);
        take(|part| part == "function");
        let name = parts.next().filter(|name| is_word(name))?.to_owned();
        let qualifier = match parts.next() {
            Some(text) => Some(Qualifier::parse(text)?),
            None => None,
        };
        parts.next().is_none().then_some(Self {
            region,
            account,
            name,
            qualifier,
        })
    }
}

/// The ARN of a function: what the service answers with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionArn {
    /// Region.
    pub region: String,
    /// Twelve digits.
    pub account: String,
    /// The function's own name.
    pub name: String,
    /// Version or alias, if the ARN is qualified.
    pub qualifier: Option<Qualifier>,
}

impl fmt::Display for FunctionArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "arn:aws:lambda:{}:{}:function:{}",
            self.region, self.account, self.name
        )?;
        match &self.qualifier {
            Some(qualifier) => write!(f, ":{qualifier}"),
            None => Ok(()),
        }
    }
}

pub(crate) fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `(aws[a-zA-Z-]*)?`
fn is_partition(text: &str) -> bool {
    text.is_empty()
        || text
            .strip_prefix("aws")
            .is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-'))
}

/// `(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}`
fn is_region(text: &str) -> bool {
    let mut parts: Vec<&str> = text
        .strip_prefix("eusc-")
        .unwrap_or(text)
        .split('-')
        .collect();
    let lower = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase());
    if parts.len() == 4 {
        let middle = parts.remove(1);
        let iso = middle
            .strip_prefix("iso")
            .is_some_and(|rest| rest.is_empty() || (rest.len() == 1 && lower(rest)));
        if middle != "gov" && !iso {
            return false;
        }
    }
    match parts.as_slice() {
        [country, area, digit] => {
            country.len() == 2
                && lower(country)
                && lower(area)
                && digit.len() == 1
                && digit.bytes().all(|byte| byte.is_ascii_digit())
        }
        _ => false,
    }
}

/// `arn:(aws[a-zA-Z-]*)?:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+`
pub(crate) fn is_role_arn(text: &str) -> bool {
    let mut parts = text.splitn(6, ':');
    let mut next = || parts.next().unwrap_or_default();
    next() == "arn"
        && is_partition(next())
        && next() == "iam"
        && next().is_empty()
        && is_account(next())
        && next().strip_prefix("role").is_some_and(|rest| {
            let rest = rest.strip_prefix('/').unwrap_or(rest);
            !rest.is_empty()
                && rest
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"_+=,.@-/".contains(&byte))
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<FunctionRef, ApiError> {
        FunctionRef::parse(text, limits::NAMESPACED_NAME_CHARS)
    }

    #[test]
    fn every_form_is_read() {
        let plain = parse("hello").unwrap();
        assert_eq!((plain.name.as_str(), &plain.qualifier), ("hello", &None));
        assert_eq!(
            parse("hello:$LATEST").unwrap().qualifier,
            Some(Qualifier::Latest)
        );
        assert_eq!(
            parse("hello:7").unwrap().qualifier,
            Some(Qualifier::Version("7".into()))
        );
        assert_eq!(
            parse("hello:live").unwrap().qualifier,
            Some(Qualifier::Alias("live".into()))
        );
        let partial = parse("123456789012:function:hello").unwrap();
        assert_eq!(
            (partial.account.as_deref(), partial.name.as_str()),
            (Some("123456789012"), "hello")
        );
        let full = parse("arn:aws:lambda:eu-west-1:123456789012:function:hello:live").unwrap();
        assert_eq!(full.region.as_deref(), Some("eu-west-1"));
        assert_eq!(full.qualifier, Some(Qualifier::Alias("live".into())));
        assert_eq!(parse("function:hello").unwrap().name, "hello");
        assert_eq!(parse("function").unwrap().name, "function");
        assert_eq!(parse("arn").unwrap().name, "arn");
        assert_eq!(parse("123456789012").unwrap().name, "123456789012");
        for region in [
            "us-gov-west-1",
            "us-isob-east-1",
            "us-iso-east-1",
            "eusc-de-east-1",
            "ap-southeast-5",
        ] {
            let arn = format!("arn:aws:lambda:{region}:123456789012:function:f");
            assert_eq!(parse(&arn).unwrap().region.as_deref(), Some(region));
        }
    }

    #[test]
    fn what_is_no_name_is_refused_in_the_words_of_aws() {
        for text in [
            "",
            "a b",
            "a:b:c",
            "arn:aws:s3:::x",
            "a/../b",
            "é",
            "a:",
            ":a",
            "arn:aws:lambda:",
            "a:$FOO",
        ] {
            let error = parse(text).unwrap_err();
            assert!(
                error.message.starts_with(&format!(
                    "1 validation error detected: Value '{text}' at 'functionName' failed to satisfy constraint: \
                     Member must satisfy regular expression pattern: (arn:"
                )),
                "{text}: {error}"
            );
        }
        let long = "a".repeat(65);
        assert!(
            parse(&long)
                .unwrap_err()
                .message
                .ends_with("Member must have length less than or equal to 64")
        );
    }

    #[test]
    fn qualifiers_must_agree() {
        assert_eq!(
            parse("f")
                .unwrap()
                .qualified(Some("3"))
                .unwrap()
                .qualifier
                .unwrap()
                .to_string(),
            "3"
        );
        assert!(parse("f:3").unwrap().qualified(Some("3")).is_ok());
        assert_eq!(
            parse("f:3")
                .unwrap()
                .qualified(Some("4"))
                .unwrap_err()
                .message,
            "The derived qualifier from the function name does not match the specified qualifier."
        );
        assert!(parse("f").unwrap().qualified(Some("a b")).is_err());
    }

    #[test]
    fn role_arns() {
        assert!(is_role_arn("arn:aws:iam::123456789012:role/lambda"));
        assert!(is_role_arn("arn:aws-cn:iam::123456789012:role/path/to/x@y"));
        for bad in [
            "",
            "r1",
            "arn:aws:iam::12:role/x",
            "arn:aws:iam::123456789012:user/x",
            "arn:aws:iam::123456789012:role/",
        ] {
            assert!(!is_role_arn(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_fall_over(text in ".{0,300}") {
            let _ = parse(&text);
            let _ = is_role_arn(&text);
        }

        #[test]
        fn an_arn_reads_back_as_what_it_was_made_of(
            name in "[a-zA-Z0-9_-]{1,64}",
            account in "[0-9]{12}",
            qualifier in proptest::option::of("([$]LATEST|[0-9]{1,9}|[a-z_-]{1,20})"),
        ) {
            let qualifier = qualifier.map(|text| Qualifier::parse(&text).unwrap());
            let arn = FunctionArn {
                region: "us-east-1".into(), account: account.clone(), name: name.clone(), qualifier: qualifier.clone(),
            };
            let back = parse(&arn.to_string()).unwrap();
            prop_assert_eq!(back, FunctionRef {
                region: Some("us-east-1".into()), account: Some(account), name, qualifier,
            });
        }

        #[test]
        fn an_accepted_name_is_safe_in_paths_and_logs(text in "[a-zA-Z0-9:$./ _-]{0,80}") {
            if let Ok(parsed) = parse(&text) {
                prop_assert!(is_word(&parsed.name) && parsed.name.len() <= limits::NAME_CHARS);
            }
        }
    }
}
