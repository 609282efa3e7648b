//! Signing, as clients do it.

use std::path::Path;
use std::time::SystemTime;

use hmac::Mac;
use http::header::{AUTHORIZATION, HOST, HeaderValue};
use http::{HeaderMap, Method, Uri};
use proto_lambda::http_date_basic;
use sha2::{Digest, Sha256};

use crate::canonical::{ALGORITHM, Covered, SCOPE_END, SERVICE};
use crate::file::{KeysError, read_keys};
use crate::hex;

/// With what a client signs.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The key.
    pub key: crate::AccessKey,
    /// Region that the server says it is in.
    pub region: String,
}

impl Credentials {
    /// Those of a file: the section of this name, else `default`, else the only one.
    ///
    /// # Errors
    /// When the file has none that fits, or cannot be read.
    pub fn read(path: &Path, section: Option<&str>, region: String) -> Result<Self, KeysError> {
        let keys = read_keys(path)?;
        let named = |name: &str| keys.iter().find(|key| key.name == name);
        let key = match (section, keys.as_slice()) {
            (Some(name), _) => named(name),
            (None, [only]) => Some(only),
            (None, _) => named("default"),
        };
        let key = key.cloned().ok_or_else(|| KeysError::NoSuchKey {
            path: path.to_owned(),
            wanted: section.unwrap_or("default").to_owned(),
        })?;
        Ok(Self { key, region })
    }
}

/// Adds to `headers` what signs a request at this time; the body's digest is signed as a header, so that a server can
/// tell who asks before it reads the body.
pub fn sign(
    credentials: &Credentials,
    method: &Method,
    uri: &Uri,
    headers: &mut HeaderMap,
    body: &[u8],
    now: SystemTime,
) {
    let time = http_date_basic(now);
    let payload = hex(&Sha256::digest(body));
    let host = uri.authority().map_or("", |authority| authority.as_str());
    for (name, value) in [
        ("host", host),
        ("x-amz-date", time.as_str()),
        ("x-amz-content-sha256", payload.as_str()),
    ] {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
    let mut signed: Vec<String> = headers
        .keys()
        .map(|name| name.as_str().to_owned())
        .collect();
    signed.sort();
    let date = time.get(..8).unwrap_or_default();
    let scope = format!("{date}/{}/{SERVICE}/{SCOPE_END}", credentials.region);
    let covered = Covered {
        method,
        uri,
        headers,
        signed: &signed,
        payload: &payload,
    };
    let Some(code) = covered.code(&credentials.key.secret, &time, &scope) else {
        return;
    };
    let text = format!(
        "{ALGORITHM} Credential={}/{scope}, SignedHeaders={}, Signature={}",
        credentials.key.id,
        signed.join(";"),
        hex(&code.finalize().into_bytes())
    );
    if let Ok(value) = HeaderValue::from_str(&text) {
        headers.insert(AUTHORIZATION, value);
    }
    debug_assert!(headers.contains_key(HOST));
}
