//! The platform's own log lines, spelled as AWS spells them.

use std::time::Duration;

/// Which try an initialisation was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Before the first event.
    Init,
    /// As part of the first event, after the first try took too long.
    Invoke,
}

/// How a try or an event ended, when it did not end well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Status {
    Timeout,
    Error(String),
}

/// What REPORT says of one event.
#[derive(Debug, Clone)]
pub(crate) struct Report<'a> {
    pub(crate) request_id: &'a str,
    pub(crate) duration: Duration,
    pub(crate) memory_mb: u32,
    pub(crate) max_memory_bytes: u64,
    /// Set for the first event of an instance.
    pub(crate) init: Option<Duration>,
    /// The same, when it was restored from a snapshot.
    pub(crate) restore: Option<Duration>,
    pub(crate) status: Option<&'a Status>,
}

fn ms(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}

fn status(status: &Status) -> String {
    match status {
        Status::Timeout => "Status: timeout".to_owned(),
        Status::Error(error_type) => format!("Status: error\tError Type: {error_type}"),
    }
}

fn runtime_version(runtime_version: &str, region: &str) -> String {
    let name = runtime_version.replace(':', "-");
    format!(
        "Runtime Version: {runtime_version}\tRuntime Version ARN: arn:aws:lambda:{region}::runtime:{name}"
    )
}

pub(crate) fn restore_start(version: &str, region: &str) -> String {
    format!("RESTORE_START {}", runtime_version(version, region))
}

pub(crate) fn restore_report(duration: Duration, how: Option<&Status>) -> String {
    let how = how.map_or_else(String::new, |how| format!("\t{}", status(how)));
    format!("RESTORE_REPORT Restore Duration: {}{how}", ms(duration))
}

pub(crate) fn init_start(version: &str, region: &str) -> String {
    format!("INIT_START {}", runtime_version(version, region))
}

pub(crate) fn init_report(duration: Duration, phase: Phase, how: &Status) -> String {
    let phase = match phase {
        Phase::Init => "init",
        Phase::Invoke => "invoke",
    };
    format!(
        "INIT_REPORT Init Duration: {}\tPhase: {phase}\t{}",
        ms(duration),
        status(how)
    )
}

pub(crate) fn start(request_id: &str, version: &str) -> String {
    format!("START RequestId: {request_id} Version: {version}")
}

pub(crate) fn end(request_id: &str) -> String {
    format!("END RequestId: {request_id}")
}

pub(crate) fn report(report: &Report<'_>) -> String {
    let billed = report.duration.as_nanos().div_ceil(1_000_000);
    let used = report.max_memory_bytes.div_ceil(1024 * 1024);
    let mut line = format!(
        "REPORT RequestId: {}\tDuration: {}\tBilled Duration: {billed} ms\tMemory Size: {} MB\tMax Memory Used: {used} MB\t",
        report.request_id,
        ms(report.duration),
        report.memory_mb,
    );
    if let Some(init) = report.init {
        line.push_str(&format!("Init Duration: {}\t", ms(init)));
    }
    if let Some(restore) = report.restore {
        let billed = restore.as_nanos().div_ceil(1_000_000);
        line.push_str(&format!(
            "Restore Duration: {}\tBilled Restore Duration: {billed} ms\t",
            ms(restore)
        ));
    }
    if let Some(how) = report.status {
        line.push_str(&status(how));
        line.push('\t');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_read_as_aws_writes_them() {
        assert_eq!(
            start("id", "$LATEST"),
            "START RequestId: id Version: $LATEST"
        );
        let mut of = Report {
            request_id: "id",
            duration: Duration::from_micros(1_234),
            memory_mb: 128,
            max_memory_bytes: 30 * 1024 * 1024 + 1,
            init: Some(Duration::from_millis(100)),
            restore: None,
            status: None,
        };
        assert_eq!(
            report(&of),
            "REPORT RequestId: id\tDuration: 1.23 ms\tBilled Duration: 2 ms\tMemory Size: 128 MB\tMax Memory Used: 31 MB\tInit Duration: 100.00 ms\t"
        );
        let error = Status::Error("Runtime.ExitError".into());
        (of.init, of.status) = (None, Some(&error));
        assert!(report(&of).ends_with("31 MB\tStatus: error\tError Type: Runtime.ExitError\t"));
        assert_eq!(
            init_report(
                Duration::from_micros(10_009_130),
                Phase::Init,
                &Status::Timeout
            ),
            "INIT_REPORT Init Duration: 10009.13 ms\tPhase: init\tStatus: timeout"
        );
        assert_eq!(
            restore_start("python:3.11", "us-east-1"),
            "RESTORE_START Runtime Version: python:3.11\tRuntime Version ARN: arn:aws:lambda:us-east-1::runtime:python-3.11"
        );
        let restored = Duration::from_micros(3_070);
        assert_eq!(
            restore_report(restored, None),
            "RESTORE_REPORT Restore Duration: 3.07 ms"
        );
        assert_eq!(
            restore_report(restored, Some(&Status::Timeout)),
            "RESTORE_REPORT Restore Duration: 3.07 ms\tStatus: timeout"
        );
        (of.restore, of.status) = (Some(restored), None);
        assert!(report(&of).ends_with(
            "Max Memory Used: 31 MB\tRestore Duration: 3.07 ms\tBilled Restore Duration: 4 ms\t"
        ));
        assert_eq!(
            init_start("python:3.11", "us-east-1"),
            "INIT_START Runtime Version: python:3.11\tRuntime Version ARN: arn:aws:lambda:us-east-1::runtime:python-3.11"
        );
    }
}
