//! Downloads of a function's zip by a URL that needs no signature but its own.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::{Bytes, BytesMut};
use control_registry::Function;
use edge_keys::{hex, unhex};
use hmac::Mac;
use http::{HeaderValue, StatusCode, header};
use proto_lambda::{ApiError, ErrorCode};
use tokio::io::AsyncReadExt;

use crate::{
    call::Call,
    guard,
    respond::{self, Answer, Stream},
    shared::Shared,
};

/// Seconds for which a URL is good, as AWS's are.
const URL_SECONDS: u64 = 600;
/// Bytes of a zip sent at once.
const PIECE_BYTES: usize = 64 * 1024;

fn now_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

/// What the URL's token covers.
fn signed(name: &str, sha256: &str, expires: u64) -> String {
    format!("{name}\n{sha256}\n{expires}")
}

/// The URL from which the function's zip can be downloaded, by the name that the client asked.
pub(crate) fn url(shared: &Shared, function: &Function, call: &Call) -> String {
    let address = shared.address.to_string();
    let host = guard::host_of(&call.head.headers, &call.head.uri).unwrap_or(&address);
    let (name, sha256) = (&function.record.name, function.code.sha256());
    let expires = now_seconds() + URL_SECONDS;
    let token = shared
        .url_key
        .clone()
        .chain_update(signed(name, sha256, expires))
        .finalize()
        .into_bytes();
    let (token, scheme) = (hex(&token), shared.scheme());
    format!(
        "{scheme}://{host}/_rekindle/code/{name}.zip?sha256={sha256}&expires={expires}&token={token}"
    )
}

/// Sends the zip.
pub(crate) async fn answer(shared: &Arc<Shared>, name: &str, call: &Call) -> Answer {
    let denied = || {
        ApiError::new(
            ErrorCode::ACCESS_DENIED,
            "This URL is not valid or has expired.",
        )
    };
    let sha256 = call.query("sha256").ok_or_else(denied)?;
    let expires: u64 = call
        .query("expires")
        .and_then(|text| text.parse().ok())
        .ok_or_else(denied)?;
    let token = call
        .query("token")
        .and_then(|text| unhex(&text))
        .ok_or_else(denied)?;
    let checked = shared
        .url_key
        .clone()
        .chain_update(signed(name, &sha256, expires))
        .verify_slice(&token);
    if checked.is_err() || expires < now_seconds() {
        return Err(denied().into());
    }
    let function = shared
        .service
        .registry()
        .with_code(name, &sha256)
        .ok_or_else(|| {
            ApiError::new(
                ErrorCode::RESOURCE_NOT_FOUND,
                "The code has been replaced since; ask again.",
            )
        })?;
    let opened = tokio::fs::File::open(function.code.archive()).await;
    let mut file = opened.map_err(|error| {
        tracing::error!(%error, function = name, "an archive cannot be read");
        ApiError::service("The code cannot be read; the server's log has the reason.")
    })?;
    let (pieces, body) = Stream::channel();
    let length = function.code.size();
    tokio::spawn(async move {
        // The function keeps its code from being removed meanwhile.
        let _function = function;
        let mut buffer = BytesMut::zeroed(PIECE_BYTES);
        while let Ok(count) = file.read(&mut buffer).await {
            if count == 0
                || pieces
                    .send(Bytes::copy_from_slice(&buffer[..count]))
                    .await
                    .is_err()
            {
                break;
            }
        }
    });
    let mut response = http::Response::new(body);
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/zip"),
    );
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    respond::set(
        &mut response,
        header::CONTENT_DISPOSITION,
        &format!("attachment; filename=\"{name}.zip\""),
    );
    Ok(response)
}
