//! Operations on versions and aliases.

use http::StatusCode;
use proto_lambda::check_page_size;

use crate::{
    call::Call,
    respond::{self, Answer},
    shared::Shared,
};

/// The alias in the path.
fn alias_name(call: &Call) -> &str {
    call.parameters.get(1).map_or("", String::as_str)
}

/// PublishVersion.
pub(crate) async fn publish(shared: &Shared, call: &Call) -> Answer {
    let (wanted, request) = (call.function()?, call.json()?);
    let published = shared.service.publish_version(wanted, request).await?;
    respond::json(StatusCode::CREATED, &published)
}

/// CreateAlias.
pub(crate) async fn create_alias(shared: &Shared, call: &Call) -> Answer {
    let (wanted, request) = (call.function()?, call.json()?);
    let created = shared.service.create_alias(wanted, request).await?;
    respond::json(StatusCode::CREATED, &created)
}

/// GetAlias.
pub(crate) fn get_alias(shared: &Shared, call: &Call) -> Answer {
    let registry = shared.service.registry();
    respond::ok(&registry.alias(&call.function()?, alias_name(call))?)
}

/// UpdateAlias.
pub(crate) async fn update_alias(shared: &Shared, call: &Call) -> Answer {
    let (wanted, name) = (call.function()?, alias_name(call).to_owned());
    let updated = shared.service.update_alias(wanted, name, call.json()?);
    respond::ok(&updated.await?)
}

/// DeleteAlias.
pub(crate) async fn delete_alias(shared: &Shared, call: &Call) -> Answer {
    let (wanted, name) = (call.function()?, alias_name(call).to_owned());
    shared.service.delete_alias(wanted, name).await?;
    respond::nothing()
}

/// ListAliases.
pub(crate) fn list_aliases(shared: &Shared, call: &Call) -> Answer {
    let page = check_page_size(call.query("MaxItems").as_deref())?;
    let (version, marker) = (call.query("FunctionVersion"), call.query("Marker"));
    respond::ok(&shared.service.registry().list_aliases(
        &call.function()?,
        version.as_deref(),
        marker.as_deref(),
        page,
    )?)
}
