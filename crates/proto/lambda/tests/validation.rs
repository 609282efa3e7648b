//! What requests are refused, and in which words.

use proto_lambda::{
    ApiError, CreateFunctionRequest, UpdateFunctionConfigurationRequest, check_page_size,
    check_tags,
};
use serde_json::{Value, json};

fn create(change: Value) -> Result<(), ApiError> {
    let mut body = json!({
        "FunctionName": "f", "Role": "arn:aws:iam::123456789012:role/r", "Code": {"ZipFile": "UEsFBg=="},
        "Runtime": "python3.11", "Handler": "app.handler",
    });
    for (member, value) in change.as_object().unwrap() {
        body[member] = value.clone();
    }
    serde_json::from_value::<CreateFunctionRequest>(body)
        .unwrap()
        .check()
}

fn refusal(change: Value) -> String {
    create(change).unwrap_err().to_string()
}

#[test]
fn a_plain_request_passes() {
    create(json!({})).unwrap();
    create(json!({
        "Layers": [], "VpcConfig": {"SubnetIds": [], "SecurityGroupIds": []}, "KMSKeyArn": "", "Publish": false,
        "TracingConfig": {"Mode": "Active"}, "Architectures": ["x86_64"], "EphemeralStorage": {"Size": 512},
        "DeadLetterConfig": {"TargetArn": ""}, "SnapStart": {"ApplyOn": "None"},
    }))
    .unwrap();
}

#[test]
fn shapes_are_refused_as_validation_errors() {
    let at = |member: &str, value: &str, rest: &str| {
        format!(
            "ValidationException: 1 validation error detected: Value '{value}' at '{member}' \
             failed to satisfy constraint: Member must {rest}"
        )
    };
    assert_eq!(
        refusal(json!({"Timeout": 0})),
        at("timeout", "0", "have value greater than or equal to 1")
    );
    assert_eq!(
        refusal(json!({"Timeout": 901})),
        at("timeout", "901", "have value less than or equal to 900")
    );
    assert_eq!(
        refusal(json!({"MemorySize": 127})),
        at(
            "memorySize",
            "127",
            "have value greater than or equal to 128"
        )
    );
    assert_eq!(
        refusal(json!({"EphemeralStorage": {"Size": 10241}})),
        at(
            "ephemeralStorage.size",
            "10241",
            "have value less than or equal to 10240"
        )
    );
    assert_eq!(
        refusal(json!({"Role": "r1"})),
        at(
            "role",
            "r1",
            r"satisfy regular expression pattern: arn:(aws[a-zA-Z-]*)?:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+"
        )
    );
    assert_eq!(
        refusal(json!({"Architectures": ["x86_64", "arm64"]})),
        at(
            "architectures",
            "[x86_64, arm64]",
            "have length less than or equal to 1"
        )
    );
    assert_eq!(
        refusal(json!({"PackageType": "Tar"})),
        at("packageType", "Tar", "satisfy enum value set: [Zip, Image]")
    );
    assert!(
        refusal(json!({"Handler": "a b"}))
            .contains(r"Member must satisfy regular expression pattern: [^\s]+")
    );
    assert!(
        refusal(json!({"Role": null, "Code": null}))
            .starts_with("ValidationException: 2 validation errors")
    );
}

#[test]
fn values_are_refused_by_name() {
    let starts = |change: Value, text: &str| {
        let message = refusal(change);
        assert!(
            message.starts_with(&format!("InvalidParameterValueException: {text}")),
            "{message}"
        );
    };
    starts(
        json!({"Runtime": "cobol85"}),
        "Value cobol85 at 'runtime' failed to satisfy constraint: Member must satisfy",
    );
    starts(
        json!({"Handler": null}),
        "Runtime and Handler are mandatory parameters for functions created with",
    );
    starts(
        json!({"Code": {}}),
        "Please provide a source for function code.",
    );
    starts(
        json!({"Code": {"S3Bucket": "b", "S3Key": "k"}}),
        "Rekindle does not read code from S3 yet",
    );
    starts(
        json!({"Code": {"ImageUri": "x"}}),
        "Rekindle does not run container images yet",
    );
    starts(
        json!({"PackageType": "Image"}),
        "Rekindle does not run container images yet",
    );
    starts(
        json!({"Layers": ["arn:x"]}),
        "Rekindle does not support Layers yet.",
    );
    starts(
        json!({"Environment": {"Variables": {"REKINDLE_SECRETS": "KEY"}}}),
        "REKINDLE_SECRETS names KEY, and there is no such variable.",
    );
    starts(
        json!({"Environment": {"Variables": {"REKINDLE_SNAPSHOT": "never"}}}),
        "REKINDLE_SNAPSHOT must be on or off.",
    );
    starts(
        json!({"Environment": {"Variables": {"REKINDLE_WARM_UP": "{}"}}}),
        "REKINDLE_WARM_UP must be a JSON list of events.",
    );
    starts(
        json!({"Environment": {"Variables": {"REKINDLE_FRESH": "1"}}}),
        "REKINDLE_FRESH must be true or false.",
    );
    starts(
        json!({"Environment": {"Variables": {"KEY": "short", "REKINDLE_SECRETS": "KEY"}}}),
        "The secret KEY must have at least 8 bytes",
    );
    starts(
        json!({"Architectures": ["arm64"]}),
        "Architecture arm64 is not supported",
    );
    starts(
        json!({"Environment": {"Variables": {"AWS_REGION": "x", "_HANDLER": "y"}}}),
        "Lambda was unable to configure your environment variables because the environment variables you have \
         provided contains reserved keys that are currently not supported for modification. Reserved keys used in \
         this request: AWS_REGION, _HANDLER",
    );
    starts(
        json!({"Environment": {"Variables": {"BIG": "x".repeat(4096)}}}),
        "Lambda was unable to configure your environment variables because the environment variables you have \
         provided exceeded the 4KB limit. String measured: {\"BIG\":\"xxx",
    );
    starts(
        json!({"LoggingConfig": {"ApplicationLogLevel": "INFO"}}),
        "To use ApplicationLogLevel",
    );
    starts(
        json!({"Tags": {"aws:x": "y"}}),
        "Tag keys that start with aws:",
    );
}

#[test]
fn secrets_in_variables_do_not_reach_the_error() {
    let message = refusal(json!({"Environment": {"Variables": {"0bad": "hunter2"}}}));
    assert!(
        message.contains("Value at 'environment.variables'") && !message.contains("hunter2"),
        "{message}"
    );
}

#[test]
fn updates_check_what_they_hold() {
    let update = |body: Value| {
        serde_json::from_value::<UpdateFunctionConfigurationRequest>(body)
            .unwrap()
            .check()
    };
    update(json!({})).unwrap();
    assert!(update(json!({"Timeout": -1})).is_err());
    assert!(update(json!({"Runtime": "x"})).is_err());
    assert!(update(json!({"FileSystemConfigs": [{"Arn": "x"}]})).is_err());
}

#[test]
fn tags_and_pages() {
    let tags = (0..51).map(|i| (format!("k{i}"), String::new())).collect();
    assert_eq!(
        check_tags(&tags).unwrap_err().message,
        "Number of tags exceeds resource tag limit."
    );
    assert!(check_tags(&[("a?".to_owned(), String::new())].into()).is_err());
    assert!(check_tags(&[("Ünïcode key".to_owned(), "v/1".to_owned())].into()).is_ok());
    assert_eq!(check_page_size(None).unwrap(), 50);
    assert_eq!(check_page_size(Some("10000")).unwrap(), 50);
    assert_eq!(check_page_size(Some("1")).unwrap(), 1);
    assert!(check_page_size(Some("0")).is_err() && check_page_size(Some("x")).is_err());
}
