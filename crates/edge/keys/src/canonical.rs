//! The canonical form of a request, which client and server each make for themselves, and the code over it.

use hmac::{Hmac, Mac};
use http::{HeaderMap, Method, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::{Digest, Sha256};

use crate::hex;

pub(crate) const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// Service in the credential scope.
pub(crate) const SERVICE: &str = "lambda";
/// Last part of the credential scope.
pub(crate) const SCOPE_END: &str = "aws4_request";
/// The query's parameter that holds the signature, which it does not cover.
pub(crate) const QUERY_SIGNATURE: &str = "X-Amz-Signature";

/// What is not percent-encoded in canonical requests (RFC 3986, unreserved).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
/// Most parameters of a query that are read, by whoever reads it.
const QUERY_PAIRS: usize = 128;

/// Names and values of a query, decoded.
pub fn query_pairs(query: &str) -> impl Iterator<Item = (String, String)> {
    let decode = |text: &str| {
        let spaced = text.replace('+', " ");
        percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
    };
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .take(QUERY_PAIRS)
        .map(move |pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
}

/// What of a request its signature covers.
pub(crate) struct Covered<'a> {
    pub(crate) method: &'a Method,
    pub(crate) uri: &'a Uri,
    pub(crate) headers: &'a HeaderMap,
    /// Lower-case names in order.
    pub(crate) signed: &'a [String],
    /// The digest of the body in hex, or what stands for it.
    pub(crate) payload: &'a str,
}

impl Covered<'_> {
    fn canonical(&self) -> String {
        // The path is encoded once more, segment by segment, for every service but S3.
        let path: Vec<String> = self
            .uri
            .path()
            .split('/')
            .map(|segment| utf8_percent_encode(segment, ENCODED).to_string())
            .collect();
        let encode = |text: &str| utf8_percent_encode(text, ENCODED).to_string();
        let mut query: Vec<(String, String)> = query_pairs(self.uri.query().unwrap_or_default())
            .filter(|(name, _)| name != QUERY_SIGNATURE)
            .map(|(name, value)| (encode(&name), encode(&value)))
            .collect();
        query.sort();
        let query: Vec<String> = query
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let mut headers = String::new();
        for name in self.signed {
            let values = self.headers.get_all(name.as_str()).iter();
            let values: Vec<String> = values
                .filter_map(|value| value.to_str().ok())
                .map(|value| value.split_ascii_whitespace().collect::<Vec<_>>().join(" "))
                .collect();
            headers.push_str(&format!("{name}:{}\n", values.join(",")));
        }
        format!(
            "{}\n{}\n{}\n{headers}\n{}\n{}",
            self.method,
            path.join("/"),
            query.join("&"),
            self.signed.join(";"),
            self.payload
        )
    }

    /// The code over it, ready to be told or compared; `scope` is `date/region/service/aws4_request`.
    pub(crate) fn code(&self, secret: &str, time: &str, scope: &str) -> Option<Hmac<Sha256>> {
        let to_sign = format!(
            "{ALGORITHM}\n{time}\n{scope}\n{}",
            hex(&Sha256::digest(self.canonical().as_bytes()))
        );
        let mut key = format!("AWS4{secret}").into_bytes();
        for part in scope.split('/') {
            key = keyed(&key, part.as_bytes())?
                .finalize()
                .into_bytes()
                .to_vec();
        }
        keyed(&key, to_sign.as_bytes())
    }
}

/// The code of `message` under `key`; HMAC takes keys of any length.
fn keyed(key: &[u8], message: &[u8]) -> Option<Hmac<Sha256>> {
    let mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    Some(mac.chain_update(message))
}
