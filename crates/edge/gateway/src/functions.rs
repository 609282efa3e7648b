//! Operations on functions, tags and the account.

use std::collections::BTreeMap;

use http::StatusCode;
use proto_lambda::{FunctionCodeLocation, GetFunctionResponse, check_page_size};
use serde::Serialize;

use crate::{
    call::Call,
    download,
    respond::{self, Answer},
    shared::Shared,
};

/// CreateFunction.
pub(crate) async fn create(shared: &Shared, call: Call) -> Answer {
    let request = call.json()?;
    // The zip is in the request by now: nobody holds it twice.
    drop(call);
    let created = shared.service.create(request).await?;
    respond::json(StatusCode::CREATED, &created)
}

/// GetFunction.
pub(crate) async fn get(shared: &Shared, call: &Call) -> Answer {
    let wanted = call.qualified_function()?;
    let found = shared.service.describe(&wanted).await?;
    respond::ok(&GetFunctionResponse {
        configuration: found.configuration,
        code: FunctionCodeLocation {
            repository_type: "S3",
            location: download::url(shared, &found.function, call),
        },
        tags: (!found.tags.is_empty()).then_some(found.tags),
    })
}

/// GetFunctionConfiguration.
pub(crate) async fn get_configuration(shared: &Shared, call: &Call) -> Answer {
    let wanted = call.qualified_function()?;
    respond::ok(&shared.service.configuration(&wanted).await?)
}

/// ListFunctions.
pub(crate) async fn list(shared: &Shared, call: &Call) -> Answer {
    let page = check_page_size(call.query("MaxItems").as_deref())?;
    let (marker, versions) = (call.query("Marker"), call.query("FunctionVersion"));
    let listed = shared
        .service
        .list(marker.as_deref(), page, versions.as_deref());
    respond::ok(&listed.await?)
}

/// ListVersionsByFunction.
pub(crate) async fn list_versions(shared: &Shared, call: &Call) -> Answer {
    let page = check_page_size(call.query("MaxItems").as_deref())?;
    let (marker, wanted) = (call.query("Marker"), call.function()?);
    let listed = shared
        .service
        .list_versions(&wanted, marker.as_deref(), page);
    respond::ok(&listed.await?)
}

/// UpdateFunctionCode.
pub(crate) async fn update_code(shared: &Shared, call: Call) -> Answer {
    let wanted = call.function()?;
    let request = call.json()?;
    drop(call);
    respond::ok(&shared.service.update_code(wanted, request).await?)
}

/// UpdateFunctionConfiguration.
pub(crate) async fn update_configuration(shared: &Shared, call: &Call) -> Answer {
    let (wanted, request) = (call.function()?, call.json()?);
    let updated = shared.service.update_configuration(wanted, request);
    respond::ok(&updated.await?)
}

/// DeleteFunction. Clients accept 200 and 204; AWS answers 204.
pub(crate) async fn delete(shared: &Shared, call: &Call) -> Answer {
    shared.service.delete(call.qualified_function()?).await?;
    respond::nothing()
}

/// GetAccountSettings.
pub(crate) fn account_settings(shared: &Shared) -> Answer {
    let registry = shared.service.registry();
    respond::ok(&registry.account_settings(shared.config.concurrency))
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ListTagsResponse {
    tags: BTreeMap<String, String>,
}

/// ListTags.
pub(crate) fn list_tags(shared: &Shared, call: &Call) -> Answer {
    let tags = shared.service.registry().tags(call.resource())?;
    respond::ok(&ListTagsResponse { tags })
}

/// TagResource.
pub(crate) async fn tag(shared: &Shared, call: &Call) -> Answer {
    let arn = call.resource().to_owned();
    shared.service.tag(arn, call.json()?).await?;
    respond::nothing()
}

/// UntagResource.
pub(crate) async fn untag(shared: &Shared, call: &Call) -> Answer {
    let arn = call.resource().to_owned();
    shared.service.untag(arn, call.query_all("tagKeys")).await?;
    respond::nothing()
}
