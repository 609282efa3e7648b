//! One request on its way through the gateway.

use bytes::Bytes;
use edge_keys::query_pairs;
use http::{HeaderMap, request::Parts};
use proto_lambda::{ApiError, ErrorCode, FunctionRef, Violations, limits};
use serde::de::DeserializeOwned;

/// One request: its head taken apart, and its whole body.
pub(crate) struct Call {
    /// UUID that names this request in answers and logs.
    pub(crate) id: String,
    /// Parameters of the path, in order.
    pub(crate) parameters: Vec<String>,
    /// Head of the request.
    pub(crate) head: Parts,
    /// Body of the request.
    pub(crate) body: Bytes,
}

impl Call {
    /// The query's value of `name`.
    pub(crate) fn query(&self, name: &str) -> Option<String> {
        self.query_all(name).into_iter().next()
    }

    /// All values of `name` in the query.
    pub(crate) fn query_all(&self, name: &str) -> Vec<String> {
        query_pairs(self.head.uri.query().unwrap_or_default())
            .filter(|(key, _)| key == name)
            .map(|(_, value)| value)
            .collect()
    }

    /// A header as text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.head.headers, name)
    }

    /// The first path parameter.
    pub(crate) fn resource(&self) -> &str {
        self.parameters.first().map_or("", String::as_str)
    }

    /// The function in the path.
    pub(crate) fn function(&self) -> Result<FunctionRef, ApiError> {
        FunctionRef::parse(self.resource(), limits::NAMESPACED_NAME_CHARS)
    }

    /// The function in the path with the query's qualifier.
    pub(crate) fn qualified_function(&self) -> Result<FunctionRef, ApiError> {
        self.function()?
            .qualified(self.query("Qualifier").as_deref())
    }

    /// The body as JSON of a shape; an empty body is an empty object.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        let body: &[u8] = if self.body.is_empty() {
            b"{}"
        } else {
            &self.body
        };
        serde_json::from_slice(body)
            .map_err(|error| ApiError::new(ErrorCode::SERIALIZATION, error.to_string()))
    }

    /// A header that must be one of some words.
    pub(crate) fn word_header<'a>(
        &'a self,
        name: &str,
        member: &str,
        allowed: &[&str],
    ) -> Result<Option<&'a str>, ApiError> {
        let value = self.header(name);
        let mut violations = Violations::default();
        violations.check_enum(value, member, allowed);
        violations.into_result()?;
        Ok(value)
    }
}

/// A header as text.
pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
