//! Operations on functions, tags and the account.

use std::{collections::BTreeMap, sync::Arc};

use control_registry::{Function, Phase, Retired};
use http::StatusCode;
use proto_lambda::{
    FunctionCodeLocation, FunctionConfiguration, FunctionRef, GetFunctionResponse, Qualifier,
    check_page_size,
};
use serde::Serialize;

use crate::{
    call::Call,
    download, prepare,
    respond::{self, Answer},
    server::{self, Shared},
};

/// CreateFunction. Runs on its own task: a client that goes away half-way leaves a whole function.
pub(crate) async fn create(shared: &Arc<Shared>, call: Call) -> Answer {
    let request = call.json()?;
    drop(call);
    let task = Arc::clone(shared);
    let (created, begun) = server::detached(async move {
        let created = task.registry.create(request).await?;
        let begun = prepare::begin(&task, &created.function_name);
        Ok((created, begun))
    })
    .await?;
    prepare::wait(&begun).await;
    respond::json(StatusCode::CREATED, &created)
}

/// GetFunction.
pub(crate) async fn get(shared: &Shared, call: &Call) -> Answer {
    let wanted = call.qualified_function()?;
    let function = shared.registry.find(&wanted)?;
    // Versions and aliases have no tags of their own.
    let latest = shared.registry.find(&wanted.clone().without_qualifier())?;
    let tags = &latest.record.tags;
    respond::ok(&GetFunctionResponse {
        configuration: settled(shared, &function, wanted.qualifier.as_ref()).await,
        code: FunctionCodeLocation {
            repository_type: "S3",
            location: download::url(shared, &function, call),
        },
        tags: (!tags.is_empty()).then(|| tags.clone()),
    })
}

/// GetFunctionConfiguration.
pub(crate) async fn get_configuration(shared: &Shared, call: &Call) -> Answer {
    let wanted = call.qualified_function()?;
    let function = shared.registry.find(&wanted)?;
    respond::ok(&settled(shared, &function, wanted.qualifier.as_ref()).await)
}

/// A configuration as it is now; whether there is a snapshot is known to the node.
async fn settled(
    shared: &Shared,
    function: &Function,
    qualifier: Option<&Qualifier>,
) -> FunctionConfiguration {
    let mut configuration = function.configuration(qualifier, Phase::Settled);
    configuration.snap_start.optimization_status = optimization_status(shared, function).await;
    configuration
}

async fn optimization_status(shared: &Shared, function: &Function) -> &'static str {
    let on = function.asks_for_snap_start()
        && shared.node.has_snapshot(Arc::clone(&function.spec)).await;
    if on { "On" } else { "Off" }
}

/// Tells of each version in a list whether it starts from the snapshot that it asked for.
async fn complete(shared: &Shared, listed: &mut [FunctionConfiguration]) {
    let mut versions: Vec<Arc<Function>> = Vec::new();
    for one in listed {
        let first = versions.first();
        if first.is_none_or(|first| first.record.name != one.function_name) {
            versions = shared.registry.versions_of(&one.function_name);
        }
        let mut versions = versions.iter();
        if let Some(function) = versions.find(|it| it.record.version_text() == one.version) {
            one.snap_start.optimization_status = optimization_status(shared, function).await;
        }
    }
}

/// ListFunctions.
pub(crate) async fn list(shared: &Shared, call: &Call) -> Answer {
    let page = check_page_size(call.query("MaxItems").as_deref())?;
    let marker = call.query("Marker");
    let mut listed = shared.registry.list(
        marker.as_deref(),
        page,
        call.query("FunctionVersion").as_deref(),
    )?;
    complete(shared, &mut listed.functions).await;
    respond::ok(&listed)
}

/// ListVersionsByFunction.
pub(crate) async fn list_versions(shared: &Shared, call: &Call) -> Answer {
    let page = check_page_size(call.query("MaxItems").as_deref())?;
    let marker = call.query("Marker");
    let wanted = call.function()?;
    let mut listed = shared
        .registry
        .list_versions(&wanted, marker.as_deref(), page)?;
    complete(shared, &mut listed.versions).await;
    respond::ok(&listed)
}

/// UpdateFunctionCode.
pub(crate) async fn update_code(shared: &Arc<Shared>, call: Call) -> Answer {
    let wanted = call.function()?;
    let request = call.json()?;
    drop(call);
    prepare::after_last_change(shared, &wanted).await;
    let task = Arc::clone(shared);
    let (updated, begun) = server::detached(async move {
        let (configuration, retired) = task.registry.update_code(&wanted, request).await?;
        Ok((configuration, follow_up(&task, &wanted, retired)))
    })
    .await?;
    prepare::wait(&begun).await;
    respond::ok(&updated)
}

/// Has the new revisions prepared, then retires the one before.
fn follow_up(
    shared: &Arc<Shared>,
    changed: &FunctionRef,
    retired: Option<Retired>,
) -> Vec<Arc<Function>> {
    let begun = prepare::begin(shared, &changed.name);
    if let Some(retired) = retired {
        let (shared, begun) = (Arc::clone(shared), begun.clone());
        tokio::spawn(async move {
            prepare::settled(&begun).await;
            shared.retire(retired);
        });
    }
    begun
}

/// UpdateFunctionConfiguration.
pub(crate) async fn update_configuration(shared: &Arc<Shared>, call: &Call) -> Answer {
    let wanted = call.function()?;
    let request = call.json()?;
    prepare::after_last_change(shared, &wanted).await;
    let task = Arc::clone(shared);
    let (updated, begun) = server::detached(async move {
        let (configuration, retired) = task.registry.update_configuration(&wanted, request).await?;
        Ok((configuration, follow_up(&task, &wanted, Some(retired))))
    })
    .await?;
    prepare::wait(&begun).await;
    respond::ok(&updated)
}

/// DeleteFunction. Clients accept 200 and 204; AWS answers 204.
pub(crate) async fn delete(shared: &Arc<Shared>, call: &Call) -> Answer {
    let wanted = call.qualified_function()?;
    let task = Arc::clone(shared);
    let deleted = server::detached(async move {
        let retired = task.registry.delete(&wanted).await?;
        let retiring: Vec<_> = retired.into_iter().map(|one| task.retire(one)).collect();
        if wanted.qualifier.is_none() {
            task.forget_logs(&wanted.name).await;
            tokio::spawn(async move { task.forget_last_words(&wanted, retiring).await });
        }
        Ok(())
    });
    deleted.await?;
    respond::nothing()
}

/// GetAccountSettings.
pub(crate) fn account_settings(shared: &Shared) -> Answer {
    respond::ok(&shared.registry.account_settings(shared.config.concurrency))
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ListTagsResponse {
    tags: BTreeMap<String, String>,
}

/// ListTags.
pub(crate) fn list_tags(shared: &Shared, call: &Call) -> Answer {
    respond::ok(&ListTagsResponse {
        tags: shared.registry.tags(call.resource())?,
    })
}

/// TagResource.
pub(crate) async fn tag(shared: &Shared, call: &Call) -> Answer {
    shared.registry.tag(call.resource(), call.json()?).await?;
    respond::nothing()
}

/// UntagResource.
pub(crate) async fn untag(shared: &Shared, call: &Call) -> Answer {
    shared
        .registry
        .untag(call.resource(), &call.query_all("tagKeys"))
        .await?;
    respond::nothing()
}
