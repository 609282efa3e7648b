//! Lists of functions and versions, page by page.

use std::{
    ops::Bound::{Excluded, Included, Unbounded},
    sync::Arc,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use proto_lambda::{
    ApiError, FunctionConfiguration, FunctionRef, ListFunctionsResponse, ListVersionsResponse,
};

use crate::{Function, ListError, Phase, Registry, entry::Entry};

/// A marker names the last item of the page before, in base64: opaque to clients, stable under
/// changes. An empty one is none.
pub(crate) fn read_marker(marker: Option<&str>) -> Result<Option<String>, ApiError> {
    let Some(marker) = marker.filter(|marker| !marker.is_empty()) else {
        return Ok(None);
    };
    let invalid =
        || ApiError::invalid_parameter("The Marker is not one that this operation returned.");
    let bytes = BASE64_URL_SAFE_NO_PAD
        .decode(marker)
        .map_err(|_| invalid())?;
    String::from_utf8(bytes).map(Some).map_err(|_| invalid())
}

/// Where a version stands: `$LATEST` before all numbers.
fn place(function: &Function) -> u64 {
    function.record.version.unwrap_or_default()
}

/// A marker for the list of every version.
fn marker_of(function: &Function) -> String {
    let text = format!("{}:{}", function.record.name, place(function));
    BASE64_URL_SAFE_NO_PAD.encode(text)
}

fn as_version(function: &Function) -> FunctionConfiguration {
    function.configuration(Some(&function.record.qualifier()), Phase::Listed)
}

/// Cuts a list to a page; whether there was more.
fn cut<T>(items: &mut Vec<T>, page: usize) -> bool {
    let more = items.len() > page;
    items.truncate(page);
    more
}

impl Registry {
    /// ListFunctions: `versions` is the query's `FunctionVersion`.
    pub fn list(
        &self,
        marker: Option<&str>,
        page: usize,
        versions: Option<&str>,
    ) -> Result<ListFunctionsResponse, ListError> {
        let mut violations = proto_lambda::Violations::default();
        violations.check_enum(versions, "functionVersion", &["ALL"]);
        violations.into_result()?;
        let after = read_marker(marker)?;
        if versions.is_some() {
            return Ok(self.list_all(after.as_deref(), page));
        }
        let mut functions = self.page(after.as_deref(), page.saturating_add(1));
        let more = cut(&mut functions, page);
        let next_marker = functions
            .last()
            .filter(|_| more)
            .map(|last| BASE64_URL_SAFE_NO_PAD.encode(&last.record.name));
        let functions = functions
            .iter()
            .map(|function| function.configuration(None, Phase::Listed))
            .collect();
        Ok(ListFunctionsResponse {
            next_marker,
            functions,
        })
    }

    /// Every version of every function.
    fn list_all(&self, after: Option<&str>, page: usize) -> ListFunctionsResponse {
        let after = after
            .and_then(|text| text.rsplit_once(':'))
            .map(|(name, number)| (name, number.parse().unwrap_or(u64::MAX)));
        let functions = self.functions.read();
        let start = after.map_or(Unbounded, |(name, _)| Included(name));
        let mut found: Vec<&Arc<Function>> = functions
            .range::<str, _>((start, Unbounded))
            .flat_map(|(_, entry)| entry.all())
            .filter(|function| {
                after.is_none_or(|(name, number)| {
                    function.record.name != name || place(function) > number
                })
            })
            .take(page.saturating_add(1))
            .collect();
        let more = cut(&mut found, page);
        ListFunctionsResponse {
            next_marker: found.last().filter(|_| more).map(|last| marker_of(last)),
            functions: found
                .into_iter()
                .map(|version| as_version(version))
                .collect(),
        }
    }

    /// ListVersionsByFunction.
    pub fn list_versions(
        &self,
        wanted: &FunctionRef,
        marker: Option<&str>,
        page: usize,
    ) -> Result<ListVersionsResponse, ListError> {
        self.find(wanted)?;
        let after = read_marker(marker)?.map(|text| {
            let number = text.rsplit_once(':').map_or("", |(_, number)| number);
            number.parse::<u64>().unwrap_or(u64::MAX)
        });
        let functions = self.functions.read();
        let mut found: Vec<&Arc<Function>> = functions
            .get(&wanted.name)
            .map(|entry| versions_after(entry, after, page.saturating_add(1)))
            .unwrap_or_default();
        let more = cut(&mut found, page);
        Ok(ListVersionsResponse {
            next_marker: found.last().filter(|_| more).map(|last| marker_of(last)),
            versions: found
                .into_iter()
                .map(|version| as_version(version))
                .collect(),
        })
    }
}

fn versions_after(entry: &Entry, after: Option<u64>, count: usize) -> Vec<&Arc<Function>> {
    let latest = after.is_none().then_some(&entry.latest);
    let start = after.map_or(Unbounded, Excluded);
    latest
        .into_iter()
        .chain(
            entry
                .versions
                .range((start, Unbounded))
                .map(|(_, version)| version),
        )
        .take(count)
        .collect()
}
