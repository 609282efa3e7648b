//! The environment variables of a function, as AWS sets them (developer guide,
//! "Defined runtime environment variables").

use proto_node::{FunctionSpec, SnapStart};

use crate::{FunctionRuntime, Secrets};

/// Names a function cannot set itself.
const RESERVED: [&str; 16] = [
    "_HANDLER",
    "_X_AMZN_TRACE_ID",
    "AWS_DEFAULT_REGION",
    "AWS_REGION",
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_LAMBDA_RUNTIME_API",
    "LAMBDA_TASK_ROOT",
    "LAMBDA_RUNTIME_DIR",
    "AWS_XRAY_CONTEXT_MISSING",
    "AWS_XRAY_DAEMON_ADDRESS",
];

/// The whole environment of an instance. The function's own variables win over the
/// defaults (`PATH`, `TZ`, …) and lose against what is reserved.
pub fn function_environment(
    function: &FunctionSpec,
    runtime: &dyn FunctionRuntime,
    stream: &str,
    runtime_api: &str,
) -> Vec<(String, String)> {
    let memory = function.memory_mb.to_string();
    let mut defaults = vec![
        (
            "PATH",
            "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin",
        ),
        (
            "LD_LIBRARY_PATH",
            "/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib",
        ),
        ("LANG", "en_US.UTF-8"),
        ("TZ", ":UTC"),
    ];
    let own_variables = runtime.variables(function);
    let mut reserved = vec![
        ("_HANDLER", function.handler.as_str()),
        ("LAMBDA_TASK_ROOT", "/var/task"),
        ("LAMBDA_RUNTIME_DIR", "/var/runtime"),
        ("AWS_REGION", &function.region),
        ("AWS_DEFAULT_REGION", &function.region),
        ("AWS_LAMBDA_FUNCTION_NAME", &function.name),
        ("AWS_LAMBDA_FUNCTION_VERSION", &function.version),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", &memory),
        ("AWS_LAMBDA_RUNTIME_API", runtime_api),
        ("AWS_XRAY_CONTEXT_MISSING", "LOG_ERROR"),
        ("AWS_XRAY_DAEMON_ADDRESS", "169.254.79.129:2000"),
    ];
    defaults.extend(
        own_variables
            .defaults
            .iter()
            .map(|(name, value)| (*name, value.as_str())),
    );
    match function.snap_start {
        SnapStart::Off => reserved.extend([
            ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
            ("AWS_LAMBDA_LOG_GROUP_NAME", &function.log_group),
            ("AWS_LAMBDA_LOG_STREAM_NAME", stream),
        ]),
        // The stream is that of one instance, and a snapshot is for many: see `late_environment`.
        SnapStart::On => reserved.push(("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start")),
    }
    if let Some(execution) = &own_variables.execution {
        reserved.push(("AWS_EXECUTION_ENV", execution));
    }
    let own = |name: &str| function.environment.contains_key(name);
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let defaults = defaults
        .into_iter()
        .filter(|(name, _)| !own(name))
        .map(owned);
    let late = match (function.snap_start, runtime.snapshots().secrets) {
        (SnapStart::On, Secrets::AfterRestore) => function.secrets(),
        _ => Vec::new(),
    };
    let user = function.environment.iter();
    let user = user
        .filter(|(name, _)| !RESERVED.contains(&name.as_str()))
        .filter(|(name, _)| late.iter().all(|(secret, _)| secret != *name))
        .map(|(name, value)| (name.clone(), value.clone()));
    defaults
        .chain(reserved.into_iter().map(owned))
        .chain(user)
        .collect()
}

/// What an instance that can be captured is given only when it goes on, in the answer to
/// `restore/next`: secrets, and what is its own and not its clones'.
pub fn late_environment(function: &FunctionSpec, stream: &str) -> Vec<(String, String)> {
    let mut late = function.secrets();
    if function.snap_start == SnapStart::On {
        late.extend([
            (
                "AWS_LAMBDA_LOG_GROUP_NAME".into(),
                function.log_group.clone(),
            ),
            ("AWS_LAMBDA_LOG_STREAM_NAME".into(), stream.to_owned()),
        ]);
    }
    late
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use proto_node::{CodeRef, Revision};

    use super::*;
    use crate::nodejs::NodeJs;
    use crate::provided::Provided;
    use crate::python::Python;

    pub(crate) fn function(environment: &[(&str, &str)]) -> FunctionSpec {
        FunctionSpec {
            revision: Revision("r".into()),
            name: "f".into(),
            version: "$LATEST".into(),
            arn: "arn".into(),
            account: "000000000000".into(),
            region: "eu-west-1".into(),
            runtime: "nodejs22.x".into(),
            handler: "index.handler".into(),
            architecture: "x86_64".into(),
            memory_mb: 128,
            timeout: Duration::from_secs(3),
            ephemeral_storage_mb: 512,
            environment: environment
                .iter()
                .map(|(k, v)| ((*k).into(), (*v).into()))
                .collect(),
            code: CodeRef {
                sha256: String::new(),
                bytes: 0,
            },
            snap_start: Default::default(),
            isolation: Default::default(),
            platform: Default::default(),
            log_group: "/aws/lambda/f".into(),
        }
    }

    fn environment(own: &[(&str, &str)], kind: &dyn FunctionRuntime) -> BTreeMap<String, String> {
        let pairs = function_environment(&function(own), kind, "stream", "169.254.100.1:9001");
        let map: BTreeMap<_, _> = pairs.iter().cloned().collect();
        assert_eq!(map.len(), pairs.len(), "no name comes twice");
        map
    }

    #[test]
    fn own_variables_win_over_defaults_and_lose_against_reserved_ones() {
        let own = [
            ("TZ", "Europe/Berlin"),
            ("KEY", "v"),
            ("AWS_REGION", "mars"),
            ("_HANDLER", "x"),
        ];
        let got = environment(&own, &NodeJs);
        assert_eq!(
            (got["TZ"].as_str(), got["KEY"].as_str()),
            ("Europe/Berlin", "v")
        );
        assert_eq!(
            (got["AWS_REGION"].as_str(), got["_HANDLER"].as_str()),
            ("eu-west-1", "index.handler")
        );
        assert!(got["NODE_PATH"].starts_with("/opt/nodejs/node22/node_modules:"));
        assert_eq!(got["AWS_EXECUTION_ENV"], "AWS_Lambda_nodejs22.x");
    }

    #[test]
    fn what_is_captured_knows_no_log_stream() {
        let mut captured = function(&[]);
        captured.snap_start = SnapStart::On;
        let got: BTreeMap<_, _> = function_environment(&captured, &Python, "stream", "")
            .into_iter()
            .collect();
        assert_eq!(got["AWS_LAMBDA_INITIALIZATION_TYPE"], "snap-start");
        assert!(!got.keys().any(|name| name.starts_with("AWS_LAMBDA_LOG_")));
        let own = [("KEY", "s3cr3t-value"), ("REKINDLE_SECRETS", " KEY ,OTHER")];
        let mut secretive = function(&own);
        secretive.snap_start = SnapStart::On;
        assert_eq!(
            secretive.secrets(),
            [("KEY".to_owned(), "s3cr3t-value".to_owned())]
        );
        let names = |kind: &dyn FunctionRuntime| -> Vec<_> {
            let all = function_environment(&secretive, kind, "", "");
            all.into_iter().map(|(name, _)| name).collect()
        };
        assert!(!names(&Python).contains(&"KEY".to_owned()));
        assert!(names(&Provided).contains(&"KEY".to_owned()));
        let usual = environment(&own, &Python);
        assert_eq!(usual["KEY"], "s3cr3t-value");
        assert_eq!(usual["AWS_LAMBDA_INITIALIZATION_TYPE"], "on-demand");
        assert_eq!(usual["AWS_LAMBDA_LOG_STREAM_NAME"], "stream");
    }

    #[test]
    fn provided_functions_have_no_execution_environment() {
        let got = environment(&[], &Provided);
        assert!(!got.contains_key("AWS_EXECUTION_ENV") && !got.contains_key("PYTHONPATH"));
        assert_eq!(got["AWS_LAMBDA_RUNTIME_API"], "169.254.100.1:9001");
    }
}
