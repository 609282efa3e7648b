//! What a node believes of a call.

use std::time::Duration;

use proto_node::{CodeRef, FunctionSpec, InvokeHead, Revision};

use crate::Call;

/// Longest name of anything in bytes.
const NAME_BYTES: usize = 256;
/// Longest text of anything in bytes; the client context of an event is the longest.
const TEXT_BYTES: usize = 16 * 1024;
/// Longest time that anything may be given; a moment so far away can still be computed.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// Most memory and storage in MiB.
const MEBIBYTES: u32 = 64 * 1024;
/// Most variables of a function, which have 4 KiB.
const VARIABLES: usize = 4096;

/// A call says what no caller may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not acceptable")]
pub struct Invalid(pub &'static str);

fn that(holds: bool, what: &'static str) -> Result<(), Invalid> {
    holds.then_some(()).ok_or(Invalid(what))
}

/// What may become the name of a file: no separator, and not only dots.
fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'$');
    !text.is_empty() && text.len() <= NAME_BYTES && text.bytes().all(plain)
}

fn is_text(text: &str) -> bool {
    text.len() <= TEXT_BYTES
}

impl Call {
    /// Whether all of it is within what a node can take.
    pub fn check(&self) -> Result<(), Invalid> {
        match self {
            Self::Invoke { function, head, .. } => {
                function_is_sound(function)?;
                head_is_sound(head)
            }
            Self::Prepare(function) | Self::HasSnapshot(function) => function_is_sound(function),
            Self::Target { function, .. } => function_is_sound(function),
            Self::Forget(revision) => revision_is_sound(revision),
            Self::KeepOnly(revisions) => revisions.iter().try_for_each(revision_is_sound),
            Self::HasCode(code) | Self::PutCode(code) | Self::RemoveCode(code) => {
                code_is_sound(code)
            }
            Self::KeepCode(codes) => codes.iter().try_for_each(code_is_sound),
            Self::StoredLogs { function, .. } | Self::RemoveLogs(function) => {
                that(is_name(function), "the function's name")
            }
            Self::Outdated | Self::Subscribe | Self::View => Ok(()),
        }
    }
}

fn revision_is_sound(revision: &Revision) -> Result<(), Invalid> {
    that(is_name(&revision.0), "the revision")
}

fn code_is_sound(code: &CodeRef) -> Result<(), Invalid> {
    that(code.is_well_formed(), "the code's digest")
}

fn function_is_sound(function: &FunctionSpec) -> Result<(), Invalid> {
    revision_is_sound(&function.revision)?;
    code_is_sound(&function.code)?;
    that(is_name(&function.name), "the function's name")?;
    that(is_name(&function.version), "the version")?;
    let texts = [
        &function.arn,
        &function.account,
        &function.region,
        &function.runtime,
        &function.handler,
        &function.architecture,
        &function.log_group,
    ];
    that(texts.iter().all(|text| is_text(text)), "a text")?;
    let variables = &function.environment;
    let sound = |(name, value): (&String, &String)| is_text(name) && is_text(value);
    that(
        variables.len() <= VARIABLES && variables.iter().all(sound),
        "the environment",
    )?;
    that(function.timeout <= LONGEST, "the time limit")?;
    let sizes = [function.memory_mb, function.ephemeral_storage_mb];
    that(sizes.iter().all(|size| *size <= MEBIBYTES), "a size")
}

fn head_is_sound(head: &InvokeHead) -> Result<(), Invalid> {
    that(is_name(&head.request_id), "the request id")?;
    let context = head.client_context.as_deref().unwrap_or_default();
    let trace = head.trace_id.as_deref().unwrap_or_default();
    let texts = [head.invoked_arn.as_str(), context, trace];
    that(texts.iter().all(|text| is_text(text)), "a text")?;
    that(head.queue_time <= LONGEST, "the waiting time")
}
