//! `GET /_rekindle/metrics`: what was counted, for Prometheus.

use base_telemetry::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode, header};

use crate::{
    respond::{self, Body},
    shared::Shared,
};

pub(crate) async fn answer(shared: &Shared) -> Response<Body> {
    let text = shared.service.exposition(&shared.config.metrics).await;
    let mut response = respond::bytes(StatusCode::OK, text);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    response
}
