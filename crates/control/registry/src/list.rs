//! Lists of functions and versions, page by page.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use proto_lambda::{ApiError, FunctionRef, ListFunctionsResponse, ListVersionsResponse, Qualifier};

use crate::{Phase, Registry};

/// A marker is the last name of the page before, in base64: opaque to clients, stable under changes.
fn read_marker(marker: &str) -> Result<String, ApiError> {
    let invalid =
        || ApiError::invalid_parameter("The Marker is not one that this operation returned.");
    let bytes = BASE64_URL_SAFE_NO_PAD
        .decode(marker)
        .map_err(|_| invalid())?;
    String::from_utf8(bytes).map_err(|_| invalid())
}

impl Registry {
    /// ListFunctions: `versions` is the query's `FunctionVersion`.
    pub fn list(
        &self,
        marker: Option<&str>,
        page: usize,
        versions: Option<&str>,
    ) -> Result<ListFunctionsResponse, ApiError> {
        let mut violations = proto_lambda::Violations::default();
        violations.check_enum(versions, "functionVersion", &["ALL"]);
        violations.into_result()?;
        // With ALL each entry is a version, and its ARN says so.
        let qualifier = versions.map(|_| Qualifier::Latest);
        let after = marker
            .filter(|marker| !marker.is_empty())
            .map(read_marker)
            .transpose()?;
        let mut functions = self.page(after.as_deref(), page.saturating_add(1));
        let more = functions.len() > page;
        functions.truncate(page);
        let next_marker = functions
            .last()
            .filter(|_| more)
            .map(|last| BASE64_URL_SAFE_NO_PAD.encode(&last.record.name));
        let functions = functions
            .iter()
            .map(|function| function.configuration(qualifier.as_ref(), Phase::Listed))
            .collect();
        Ok(ListFunctionsResponse {
            next_marker,
            functions,
        })
    }

    /// ListVersionsByFunction: `$LATEST` is all there is.
    pub fn list_versions(&self, wanted: &FunctionRef) -> Result<ListVersionsResponse, ApiError> {
        let function = self.find(wanted)?;
        let latest = function.configuration(Some(&Qualifier::Latest), Phase::Listed);
        Ok(ListVersionsResponse {
            next_marker: None,
            versions: vec![latest],
        })
    }
}
