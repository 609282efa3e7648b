//! Operations on versions and aliases.

use std::{sync::Arc, time::Duration};

use control_registry::Readiness;
use http::StatusCode;
use proto_lambda::{ApiError, FunctionConfiguration, FunctionRef, State, check_page_size, limits};
use proto_node::SnapStart;
use tokio::time::timeout;

use crate::{
    call::Call,
    respond::{self, Answer},
    server::{self, Shared},
};

/// The alias in the path.
fn alias_name(call: &Call) -> &str {
    call.parameters.get(1).map_or("", String::as_str)
}

/// How long the answer to a publication waits for the version's snapshot, so that a client that
/// waits for `Active` finds it at its first look.
const PREPARE_WAIT: Duration = Duration::from_secs(3);

/// Has the snapshot of a version made that was just published, if it is to have one.
pub(crate) async fn prepare(shared: &Arc<Shared>, published: &FunctionConfiguration) {
    if published.version == "$LATEST" || published.state != Some(State::Pending) {
        return;
    }
    let named = format!("{}:{}", published.function_name, published.version);
    let version = FunctionRef::parse(&named, limits::NAMESPACED_NAME_CHARS)
        .and_then(|wanted| Ok((shared.registry.find(&wanted)?, wanted)));
    let Ok((function, wanted)) = version else {
        return; // deleted already
    };
    if function.spec.snap_start == SnapStart::Off {
        return;
    }
    function.set_readiness(Readiness::Preparing);
    let shared = Arc::clone(shared);
    let preparing = tokio::spawn(async move {
        let prepared = shared.invoker.prepare(Arc::clone(&function.spec)).await;
        function.set_readiness(match prepared {
            Ok(()) => Readiness::Ready,
            Err(reason) => Readiness::Unprepared(reason),
        });
        if shared.registry.find(&wanted).is_err() {
            // Deleted meanwhile: nothing of it shall stay.
            shared.invoker.forget(function.spec.revision.clone()).await;
        }
    });
    let _ = timeout(PREPARE_WAIT, preparing).await;
}

/// PublishVersion.
pub(crate) async fn publish(shared: &Arc<Shared>, call: &Call) -> Answer {
    let wanted = call.function()?;
    let request = call.json()?;
    let registry = Arc::clone(&shared.registry);
    let published =
        server::detached(async move { registry.publish_version(&wanted, request).await }).await?;
    prepare(shared, &published).await;
    respond::json(StatusCode::CREATED, &published)
}

/// CreateAlias.
pub(crate) async fn create_alias(shared: &Arc<Shared>, call: &Call) -> Answer {
    let wanted = call.function()?;
    let request = call.json()?;
    let registry = Arc::clone(&shared.registry);
    let created = server::detached(async move { registry.create_alias(&wanted, request).await });
    respond::json(StatusCode::CREATED, &created.await?)
}

/// GetAlias.
pub(crate) fn get_alias(shared: &Shared, call: &Call) -> Answer {
    respond::ok(&shared.registry.alias(&call.function()?, alias_name(call))?)
}

/// UpdateAlias.
pub(crate) async fn update_alias(shared: &Arc<Shared>, call: &Call) -> Answer {
    let wanted = call.function()?;
    let name = alias_name(call).to_owned();
    let request = call.json()?;
    let registry = Arc::clone(&shared.registry);
    let updated =
        server::detached(async move { registry.update_alias(&wanted, &name, request).await });
    respond::ok(&updated.await?)
}

/// DeleteAlias.
pub(crate) async fn delete_alias(shared: &Arc<Shared>, call: &Call) -> Answer {
    let wanted = call.function()?;
    let name = alias_name(call).to_owned();
    let registry = Arc::clone(&shared.registry);
    let deleted = server::detached(async move {
        registry.delete_alias(&wanted, &name).await?;
        Ok::<_, ApiError>(())
    });
    deleted.await?;
    respond::nothing()
}

/// ListAliases.
pub(crate) fn list_aliases(shared: &Shared, call: &Call) -> Answer {
    let page = check_page_size(call.query("MaxItems").as_deref())?;
    let (version, marker) = (call.query("FunctionVersion"), call.query("Marker"));
    respond::ok(&shared.registry.list_aliases(
        &call.function()?,
        version.as_deref(),
        marker.as_deref(),
        page,
    )?)
}
