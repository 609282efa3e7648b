//! The page `docs/lambda-api.md`, generated from the table of operations.

use std::fmt::Write;

use crate::{Operation, Support};

const HEAD: &str = "\
# The Lambda API: what is supported

*Generated from the table in `crates/proto/lambda/src/operation.rs`; a test compares the two.
To bring this page up to date: `UPDATE_DOCS=1 cargo test -p proto-lambda --test support_page`.*

Point any AWS client at the server: `AWS_ENDPOINT_URL=http://127.0.0.1:9000`, any region, any keys
(unless the server was started with keys of its own). Operations that are not listed as supported
answer `NotImplementedException` with status 501, in the error shape of Lambda.
";

const LIMITS: &str = "
## Limits

| what | limit | refused with |
|---|---|---|
| body of CreateFunction, UpdateFunctionCode | 70,167,211 bytes | 413 RequestEntityTooLargeException |
| zip sent inline | 52,428,800 bytes | 400 InvalidParameterValueException |
| code, unpacked | 262,144,000 bytes, 100,000 entries | 400 InvalidParameterValueException |
| event | 6,291,456 bytes | 413 RequestTooLargeException |
| response of a function | 6,291,556 bytes | 200 with X-Amz-Function-Error, Function.ResponseSizeTooLarge |
| client context | 3,583 bytes | 400 InvalidParameterValueException |
| environment variables, as JSON | 4,096 bytes | 400 InvalidParameterValueException |
| versions of a function | 10,000 | 400 CodeStorageExceededException |
| aliases of a function | 1,000 | 400 AliasLimitExceededException |
| tags of a function | 50 | 400 InvalidParameterValueException |
| request line and headers | 64 KiB, 100 headers | 431 (414 for the request line) |

## What is kept without effect

`Role` (nothing assumes it), `TracingConfig`, `LoggingConfig.LogFormat` and the log levels.
";

/// The whole page.
pub fn support_page() -> String {
    let mut page = String::from(HEAD);
    section(&mut page, "Supported", Support::Full);
    section(
        &mut page,
        "Answered, because nothing of the kind can exist yet",
        Support::Fixed,
    );
    page.push_str("\n## Not implemented\n\n");
    let absent: Vec<&str> = rows(Support::Absent).map(|route| route.name).collect();
    page.push_str(&absent.join(", "));
    page.push_str(".\n");
    page.push_str(LIMITS);
    page
}

fn rows(support: Support) -> impl Iterator<Item = &'static crate::OperationRow> {
    Operation::table()
        .iter()
        .filter(move |route| route.support == support)
}

fn section(page: &mut String, title: &str, support: Support) {
    // Writing to a String cannot fail.
    let _ = write!(
        page,
        "\n## {title}\n\n| operation | request | remarks |\n|---|---|---|\n"
    );
    for route in rows(support) {
        let query = if route.query.is_empty() {
            String::new()
        } else {
            format!("?{}", route.query)
        };
        let _ = writeln!(
            page,
            "| {} | {} `{}{query}` | {} |",
            route.name,
            route.method.as_str(),
            route.path,
            route.note
        );
    }
}
