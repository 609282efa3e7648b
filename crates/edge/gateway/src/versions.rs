//! Operations on versions and aliases.

use std::sync::Arc;

use http::StatusCode;
use proto_lambda::{ApiError, check_page_size};

use crate::{
    call::Call,
    prepare,
    respond::{self, Answer},
    server::{self, Shared},
};

/// The alias in the path.
fn alias_name(call: &Call) -> &str {
    call.parameters.get(1).map_or("", String::as_str)
}

/// PublishVersion.
pub(crate) async fn publish(shared: &Arc<Shared>, call: &Call) -> Answer {
    let wanted = call.function()?;
    let request = call.json()?;
    let task = Arc::clone(shared);
    let (published, begun) = server::detached(async move {
        let published = task.registry.publish_version(&wanted, request).await?;
        Ok((published, prepare::begin(&task, &wanted.name)))
    })
    .await?;
    prepare::wait(&begun).await;
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
