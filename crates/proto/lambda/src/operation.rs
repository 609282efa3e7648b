//! Every operation of the API as a table: method, path, how far it is supported; and its lookup.
//!
//! The page `docs/lambda-api.md` is generated from this table.

use percent_encoding::percent_decode_str;

/// HTTP methods that the API uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `GET`
    Get,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `DELETE`
    Delete,
}

impl Method {
    /// The method's name as HTTP writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }
}

/// How far an operation is supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// Does what it does at AWS, apart from what the note says.
    Full,
    /// What it asks for cannot exist here, and the answer says so in AWS's way.
    Fixed,
    /// Answers `NotImplementedException`.
    Absent,
}

/// One row of the table.
#[derive(Debug)]
pub struct OperationRow {
    /// The operation.
    pub operation: Operation,
    /// Its name in the service model.
    pub name: &'static str,
    /// Method.
    pub method: Method,
    /// Path with `{Parameter}` segments.
    pub path: &'static str,
    /// `name=value` that the query must hold, or nothing.
    pub query: &'static str,
    /// How far it is supported.
    pub support: Support,
    /// What differs from AWS.
    pub note: &'static str,
}

macro_rules! operations {
    ($($name:ident $method:ident $path:literal $query:literal $support:ident $note:literal;)*) => {
        /// An operation of the service model.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Operation {
            $(#[doc = $path] $name,)*
        }

        /// The table: supported operations first, then by name.
        static TABLE: &[OperationRow] = &[$(OperationRow {
            operation: Operation::$name,
            name: stringify!($name),
            method: Method::$method,
            path: $path,
            query: $query,
            support: Support::$support,
            note: $note,
        },)*];
    };
}

operations! {
    CreateAlias Post "/2015-03-31/functions/{FunctionName}/aliases" "" Full "One additional version at most, as at AWS.";
    CreateFunction Post "/2015-03-31/functions" "" Full "Zip inline only; layers, VPC, file systems, images and S3 are refused by name.";
    DeleteAlias Delete "/2015-03-31/functions/{FunctionName}/aliases/{Name}" "" Full "";
    DeleteFunction Delete "/2015-03-31/functions/{FunctionName}" "" Full "With a version as its qualifier it deletes that version.";
    GetAccountSettings Get "/2016-08-19/account-settings" "" Full "";
    GetAlias Get "/2015-03-31/functions/{FunctionName}/aliases/{Name}" "" Full "";
    GetFunction Get "/2015-03-31/functions/{FunctionName}" "" Full "Code.Location is a URL of this server, valid for ten minutes.";
    GetFunctionConfiguration Get "/2015-03-31/functions/{FunctionName}/configuration" "" Full "";
    Invoke Post "/2015-03-31/functions/{FunctionName}/invocations" "" Full "RequestResponse and DryRun; Event is refused until there is a durable queue.";
    ListAliases Get "/2015-03-31/functions/{FunctionName}/aliases" "" Full "Pages of 50, sorted by name.";
    ListFunctions Get "/2015-03-31/functions" "" Full "Pages of 50, sorted by name.";
    ListTags Get "/2017-03-31/tags/{Resource}" "" Full "";
    ListVersionsByFunction Get "/2015-03-31/functions/{FunctionName}/versions" "" Full "Pages of 50: $LATEST, then from the oldest to the newest.";
    PublishVersion Post "/2015-03-31/functions/{FunctionName}/versions" "" Full "PublishTo is refused.";
    TagResource Post "/2017-03-31/tags/{Resource}" "" Full "";
    UntagResource Delete "/2017-03-31/tags/{Resource}" "" Full "";
    UpdateAlias Put "/2015-03-31/functions/{FunctionName}/aliases/{Name}" "" Full "";
    UpdateFunctionCode Put "/2015-03-31/functions/{FunctionName}/code" "" Full "Zip inline only; DryRun checks the zip too.";
    UpdateFunctionConfiguration Put "/2015-03-31/functions/{FunctionName}/configuration" "" Full "";
    GetFunctionCodeSigningConfig Get "/2020-06-30/functions/{FunctionName}/code-signing-config" "" Fixed "No configuration exists: answers the name only, as Terraform expects.";
    GetFunctionConcurrency Get "/2019-09-30/functions/{FunctionName}/concurrency" "" Fixed "Nothing is reserved.";
    GetFunctionEventInvokeConfig Get "/2019-09-25/functions/{FunctionName}/event-invoke-config" "" Fixed "No configuration exists: ResourceNotFoundException.";
    GetFunctionRecursionConfig Get "/2024-08-31/functions/{FunctionName}/recursion-config" "" Fixed "RecursiveLoop is Terminate.";
    GetFunctionUrlConfig Get "/2021-10-31/functions/{FunctionName}/url" "" Fixed "No URL exists: ResourceNotFoundException.";
    GetPolicy Get "/2015-03-31/functions/{FunctionName}/policy" "" Fixed "No policy exists: ResourceNotFoundException.";
    GetProvisionedConcurrencyConfig Get "/2019-09-30/functions/{FunctionName}/provisioned-concurrency" "" Fixed "None exists: ProvisionedConcurrencyConfigNotFoundException.";
    GetRuntimeManagementConfig Get "/2021-07-20/functions/{FunctionName}/runtime-management-config" "" Fixed "UpdateRuntimeOn is Auto.";
    ListCodeSigningConfigs Get "/2020-04-22/code-signing-configs" "" Fixed "Empty list.";
    ListEventSourceMappings Get "/2015-03-31/event-source-mappings" "" Fixed "Empty list.";
    ListFunctionEventInvokeConfigs Get "/2019-09-25/functions/{FunctionName}/event-invoke-config/list" "" Fixed "Empty list.";
    ListFunctionUrlConfigs Get "/2021-10-31/functions/{FunctionName}/urls" "" Fixed "Empty list.";
    ListLayers Get "/2018-10-31/layers" "" Fixed "Empty list.";
    ListProvisionedConcurrencyConfigs Get "/2019-09-30/functions/{FunctionName}/provisioned-concurrency" "List=ALL" Fixed "Empty list.";
    AddLayerVersionPermission Post "/2018-10-31/layers/{LayerName}/versions/{VersionNumber}/policy" "" Absent "";
    AddPermission Post "/2015-03-31/functions/{FunctionName}/policy" "" Absent "";
    CheckpointDurableExecution Post "/2025-12-01/durable-executions/{DurableExecutionArn}/checkpoint" "" Absent "";
    CreateCapacityProvider Post "/2025-11-30/capacity-providers" "" Absent "";
    CreateCodeSigningConfig Post "/2020-04-22/code-signing-configs" "" Absent "";
    CreateEventSourceMapping Post "/2015-03-31/event-source-mappings" "" Absent "";
    CreateFunctionUrlConfig Post "/2021-10-31/functions/{FunctionName}/url" "" Absent "";
    DeleteCapacityProvider Delete "/2025-11-30/capacity-providers/{CapacityProviderName}" "" Absent "";
    DeleteCodeSigningConfig Delete "/2020-04-22/code-signing-configs/{CodeSigningConfigArn}" "" Absent "";
    DeleteDurableExecution Delete "/2025-12-01/durable-executions/{DurableExecutionArn}" "" Absent "";
    DeleteEventSourceMapping Delete "/2015-03-31/event-source-mappings/{UUID}" "" Absent "";
    DeleteFunctionCodeSigningConfig Delete "/2020-06-30/functions/{FunctionName}/code-signing-config" "" Absent "";
    DeleteFunctionConcurrency Delete "/2017-10-31/functions/{FunctionName}/concurrency" "" Absent "";
    DeleteFunctionEventInvokeConfig Delete "/2019-09-25/functions/{FunctionName}/event-invoke-config" "" Absent "";
    DeleteFunctionUrlConfig Delete "/2021-10-31/functions/{FunctionName}/url" "" Absent "";
    DeleteLayerVersion Delete "/2018-10-31/layers/{LayerName}/versions/{VersionNumber}" "" Absent "";
    DeleteProvisionedConcurrencyConfig Delete "/2019-09-30/functions/{FunctionName}/provisioned-concurrency" "" Absent "";
    DeleteResourcePolicy Delete "/2026-07-09/resource-policy/{ResourceArn}" "" Absent "";
    GetCapacityProvider Get "/2025-11-30/capacity-providers/{CapacityProviderName}" "" Absent "";
    GetCodeSigningConfig Get "/2020-04-22/code-signing-configs/{CodeSigningConfigArn}" "" Absent "";
    GetDurableExecution Get "/2025-12-01/durable-executions/{DurableExecutionArn}" "" Absent "";
    GetDurableExecutionHistory Get "/2025-12-01/durable-executions/{DurableExecutionArn}/history" "" Absent "";
    GetDurableExecutionState Get "/2025-12-01/durable-executions/{DurableExecutionArn}/state" "" Absent "";
    GetEventSourceMapping Get "/2015-03-31/event-source-mappings/{UUID}" "" Absent "";
    GetFunctionScalingConfig Get "/2025-11-30/functions/{FunctionName}/function-scaling-config" "" Absent "";
    GetLayerVersion Get "/2018-10-31/layers/{LayerName}/versions/{VersionNumber}" "" Absent "";
    GetLayerVersionByArn Get "/2018-10-31/layers" "find=LayerVersion" Absent "";
    GetLayerVersionPolicy Get "/2018-10-31/layers/{LayerName}/versions/{VersionNumber}/policy" "" Absent "";
    GetResourcePolicy Get "/2026-07-09/resource-policy/{ResourceArn}" "" Absent "";
    InvokeAsync Post "/2014-11-13/functions/{FunctionName}/invoke-async" "" Absent "";
    InvokeWithResponseStream Post "/2021-11-15/functions/{FunctionName}/response-streaming-invocations" "" Full "";
    ListCapacityProviders Get "/2025-11-30/capacity-providers" "" Absent "";
    ListDurableExecutionsByFunction Get "/2025-12-01/functions/{FunctionName}/durable-executions" "" Absent "";
    ListFunctionVersionsByCapacityProvider Get "/2025-11-30/capacity-providers/{CapacityProviderName}/function-versions" "" Absent "";
    ListFunctionsByCodeSigningConfig Get "/2020-04-22/code-signing-configs/{CodeSigningConfigArn}/functions" "" Absent "";
    ListLayerVersions Get "/2018-10-31/layers/{LayerName}/versions" "" Absent "";
    PauseDurableExecution Post "/2025-12-01/durable-executions/{DurableExecutionArn}/pause" "" Absent "";
    PublishLayerVersion Post "/2018-10-31/layers/{LayerName}/versions" "" Absent "";
    PutFunctionCodeSigningConfig Put "/2020-06-30/functions/{FunctionName}/code-signing-config" "" Absent "";
    PutFunctionConcurrency Put "/2017-10-31/functions/{FunctionName}/concurrency" "" Absent "";
    PutFunctionEventInvokeConfig Put "/2019-09-25/functions/{FunctionName}/event-invoke-config" "" Absent "";
    PutFunctionRecursionConfig Put "/2024-08-31/functions/{FunctionName}/recursion-config" "" Absent "";
    PutFunctionScalingConfig Put "/2025-11-30/functions/{FunctionName}/function-scaling-config" "" Absent "";
    PutProvisionedConcurrencyConfig Put "/2019-09-30/functions/{FunctionName}/provisioned-concurrency" "" Absent "";
    PutResourcePolicy Put "/2026-07-09/resource-policy/{ResourceArn}" "" Absent "";
    PutRuntimeManagementConfig Put "/2021-07-20/functions/{FunctionName}/runtime-management-config" "" Absent "";
    RemoveLayerVersionPermission Delete "/2018-10-31/layers/{LayerName}/versions/{VersionNumber}/policy/{StatementId}" "" Absent "";
    RemovePermission Delete "/2015-03-31/functions/{FunctionName}/policy/{StatementId}" "" Absent "";
    ResumeDurableExecution Post "/2025-12-01/durable-executions/{DurableExecutionArn}/resume" "" Absent "";
    SendDurableExecutionCallbackFailure Post "/2025-12-01/durable-execution-callbacks/{CallbackId}/fail" "" Absent "";
    SendDurableExecutionCallbackHeartbeat Post "/2025-12-01/durable-execution-callbacks/{CallbackId}/heartbeat" "" Absent "";
    SendDurableExecutionCallbackSuccess Post "/2025-12-01/durable-execution-callbacks/{CallbackId}/succeed" "" Absent "";
    StopDurableExecution Post "/2025-12-01/durable-executions/{DurableExecutionArn}/stop" "" Absent "";
    UpdateCapacityProvider Put "/2025-11-30/capacity-providers/{CapacityProviderName}" "" Absent "";
    UpdateCodeSigningConfig Put "/2020-04-22/code-signing-configs/{CodeSigningConfigArn}" "" Absent "";
    UpdateEventSourceMapping Put "/2015-03-31/event-source-mappings/{UUID}" "" Absent "";
    UpdateFunctionEventInvokeConfig Post "/2019-09-25/functions/{FunctionName}/event-invoke-config" "" Absent "";
    UpdateFunctionUrlConfig Put "/2021-10-31/functions/{FunctionName}/url" "" Absent "";
}

impl Operation {
    /// All rows of the table.
    pub fn table() -> &'static [OperationRow] {
        TABLE
    }

    /// Its name in the service model.
    pub fn name(self) -> &'static str {
        self.route().name
    }

    /// Its row.
    pub fn route(self) -> &'static OperationRow {
        // The enum and the table come from one list, in one order.
        &TABLE[self as usize]
    }
}

/// An operation found for a request, with its path parameters in order.
#[derive(Debug, PartialEq, Eq)]
pub struct Resolved {
    /// Which operation.
    pub operation: Operation,
    /// Path parameters, percent-decoded.
    pub parameters: Vec<String>,
}

/// Finds the operation for a method, a raw path and a raw query.
///
/// `None` if there is none or a parameter is no UTF-8. Rows that ask for something in the query win.
pub fn resolve(method: &str, path: &str, query: &str) -> Option<Resolved> {
    let path = path.strip_suffix('/').unwrap_or(path);
    let mut found: Option<(&OperationRow, Vec<&str>)> = None;
    for route in TABLE.iter().filter(|route| route.method.as_str() == method) {
        let wanted = !route.query.is_empty();
        if wanted && !query.split('&').any(|pair| pair == route.query) {
            continue;
        }
        if let Some(parameters) = match_path(route.path, path) {
            // A literal segment is more specific than a parameter: fewer parameters win.
            let better = match &found {
                None => true,
                Some((_, others)) => wanted || parameters.len() < others.len(),
            };
            if better {
                found = Some((route, parameters));
            }
        }
    }
    let (route, raw) = found?;
    let decode = |text: &str| {
        percent_decode_str(text)
            .decode_utf8()
            .ok()
            .map(|text| text.into_owned())
    };
    let parameters = raw
        .into_iter()
        .map(decode)
        .collect::<Option<Vec<String>>>()?;
    Some(Resolved {
        operation: route.operation,
        parameters,
    })
}

/// The parameters of `path` if it has the form of `pattern`.
fn match_path<'a>(pattern: &str, path: &'a str) -> Option<Vec<&'a str>> {
    let mut parameters = Vec::new();
    let mut segments = path.split('/');
    for wanted in pattern.split('/') {
        let segment = segments.next()?;
        if wanted.starts_with('{') {
            if segment.is_empty() {
                return None;
            }
            parameters.push(segment);
        } else if segment != wanted {
            return None;
        }
    }
    segments.next().is_none().then_some(parameters)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(method: &str, path: &str, query: &str) -> Option<(Operation, Vec<String>)> {
        resolve(method, path, query).map(|resolved| (resolved.operation, resolved.parameters))
    }

    #[test]
    fn each_row_is_found_by_its_own_path() {
        for route in Operation::table() {
            let path = route.path.replace(['{', '}'], "");
            let resolved = resolve(route.method.as_str(), &path, route.query).unwrap();
            assert_eq!(resolved.operation, route.operation, "{path}");
            assert_eq!(route.operation.route().name, route.name);
        }
        assert_eq!(Operation::table().len(), 91);
    }

    #[test]
    fn arns_arrive_percent_encoded() {
        let path = "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aus-east-1%3A123456789012%3Afunction%3Af/invocations";
        let arn = "arn:aws:lambda:us-east-1:123456789012:function:f";
        assert_eq!(
            found("POST", path, ""),
            Some((Operation::Invoke, vec![arn.to_owned()]))
        );
        assert_eq!(
            found("GET", "/2015-03-31/functions/", ""),
            Some((Operation::ListFunctions, vec![]))
        );
        assert_eq!(
            found("GET", "/2015-03-31/functions//configuration", ""),
            None
        );
        assert_eq!(found("PATCH", "/2015-03-31/functions", ""), None);
        assert_eq!(found("GET", "/2015-03-31/functions/%FF", ""), None);
    }

    #[test]
    fn the_query_chooses_between_operations_of_one_path() {
        let path = "/2019-09-30/functions/f/provisioned-concurrency";
        assert_eq!(
            found("GET", path, "Qualifier=1").unwrap().0,
            Operation::GetProvisionedConcurrencyConfig
        );
        assert_eq!(
            found("GET", path, "List=ALL&MaxItems=1").unwrap().0,
            Operation::ListProvisionedConcurrencyConfigs
        );
    }

    proptest! {
        #[test]
        fn no_request_line_makes_the_lookup_fall_over(path in "[ -~]{0,200}", query in "[ -~]{0,50}") {
            let _ = resolve("GET", &path, &query);
        }
    }
}
