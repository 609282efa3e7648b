//! AWS Signature Version 4: checks that a request was signed with a key of ours.
//!
//! Source: "AWS Signature Version 4 for API requests", IAM user guide. Signatures in the query
//! (presigned requests) are not accepted.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, Mac};
use http::request::Parts;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use proto_lambda::{ApiError, ErrorCode, http_date_basic};
use sha2::{Digest, Sha256};

use crate::{AccessKey, call::header, call::query_pairs, download::unhex};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// How far the client's clock may be from ours.
const SKEW: Duration = Duration::from_secs(15 * 60);
/// What is not percent-encoded in canonical requests (RFC 3986, unreserved).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Who a request says it is from, with the key to check it by.
pub(crate) struct Claim {
    secret: String,
    /// `date/region/service/aws4_request`
    scope: String,
    time: String,
    signed_headers: Vec<String>,
    signature: Vec<u8>,
}

fn incomplete(what: &str) -> ApiError {
    ApiError::new(
        ErrorCode::INCOMPLETE_SIGNATURE,
        format!("Authorization header requires {what}."),
    )
}

/// Checks that a request is signed with one of these keys; every request passes where there are none.
///
/// # Errors
/// As AWS answers what is not signed, signed for something else, at another time, or wrongly.
pub fn verify(keys: &[AccessKey], head: &Parts, body: &[u8]) -> Result<(), ApiError> {
    match check_claim(keys, head)? {
        Some(claim) => claim.check(head, body),
        None => Ok(()),
    }
}

/// Reads who a request is from. Without keys nobody has to say.
pub(crate) fn check_claim(keys: &[AccessKey], head: &Parts) -> Result<Option<Claim>, ApiError> {
    if keys.is_empty() {
        return Ok(None);
    }
    let authorization = header(&head.headers, "authorization").ok_or_else(|| {
        ApiError::new(
            ErrorCode::MISSING_AUTHENTICATION_TOKEN,
            "Missing Authentication Token",
        )
    })?;
    let fields = authorization
        .strip_prefix(ALGORITHM)
        .ok_or_else(|| incomplete(ALGORITHM))?;
    let field = |name: &str| {
        fields
            .split(',')
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(key, _)| *key == name)
            .map(|(_, v)| v)
    };
    let credential = field("Credential").ok_or_else(|| incomplete("'Credential' parameter"))?;
    let signed_headers =
        field("SignedHeaders").ok_or_else(|| incomplete("'SignedHeaders' parameter"))?;
    let signature = field("Signature").ok_or_else(|| incomplete("'Signature' parameter"))?;
    let time = header(&head.headers, "x-amz-date")
        .ok_or_else(|| incomplete("existence of 'X-Amz-Date'"))?;
    let (id, scope) = credential
        .split_once('/')
        .ok_or_else(|| incomplete("a credential scope"))?;
    let key = keys.iter().find(|key| key.id == id).ok_or_else(|| {
        ApiError::new(
            ErrorCode::UNRECOGNIZED_CLIENT,
            "The security token included in the request is invalid.",
        )
    })?;
    check_scope(scope, time)?;
    let signed_headers: Vec<String> = signed_headers.split(';').map(str::to_owned).collect();
    if !["host", "x-amz-date"]
        .iter()
        .all(|needed| signed_headers.iter().any(|name| name == needed))
    {
        return Err(incomplete("'host' and 'x-amz-date' to be signed"));
    }
    Ok(Some(Claim {
        secret: key.secret.clone(),
        scope: scope.to_owned(),
        time: time.to_owned(),
        signed_headers,
        signature: unhex(signature).ok_or_else(|| incomplete("a signature in hex"))?,
    }))
}

fn check_scope(scope: &str, time: &str) -> Result<(), ApiError> {
    let invalid = |message: String| ApiError::new(ErrorCode::INVALID_SIGNATURE, message);
    let [date, _region, service, end] = scope.split('/').collect::<Vec<_>>()[..] else {
        return Err(incomplete("a credential scope of four parts"));
    };
    if service != "lambda" || end != "aws4_request" {
        return Err(invalid(
            "Credential should be scoped to correct service: 'lambda'.".to_owned(),
        ));
    }
    if !time.starts_with(date) || date.len() != 8 {
        return Err(invalid(
            "Credential should be scoped to the date of 'X-Amz-Date'.".to_owned(),
        ));
    }
    // The basic format sorts as the moments do.
    let now = SystemTime::now();
    let (from, to) = (now.checked_sub(SKEW).unwrap_or(UNIX_EPOCH), now + SKEW);
    if time.len() != 16 || time < http_date_basic(from).as_str() {
        return Err(invalid(format!(
            "Signature expired: {time} is now earlier than {}",
            http_date_basic(from)
        )));
    }
    if time > http_date_basic(to).as_str() {
        return Err(invalid(format!(
            "Signature not yet current: {time} is still later than {}",
            http_date_basic(to)
        )));
    }
    Ok(())
}

impl Claim {
    /// Checks the signature over head and body.
    pub(crate) fn check(&self, head: &Parts, body: &[u8]) -> Result<(), ApiError> {
        let canonical = self.canonical_request(head, body);
        let to_sign = format!(
            "{ALGORITHM}\n{}\n{}\n{}",
            self.time,
            self.scope,
            hex(&Sha256::digest(canonical.as_bytes()))
        );
        let mut key = format!("AWS4{}", self.secret).into_bytes();
        for part in self.scope.split('/') {
            key = mac(&key, part.as_bytes());
        }
        let signed =
            Hmac::<Sha256>::new_from_slice(&key).map(|mac| mac.chain_update(to_sign.as_bytes()));
        match signed.map(|mac| mac.verify_slice(&self.signature)) {
            Ok(Ok(())) => Ok(()),
            _ => Err(ApiError::new(
                ErrorCode::INVALID_SIGNATURE,
                "The request signature we calculated does not match the signature you provided. \
                 Check your AWS Secret Access Key and signing method. Consult the service documentation for details.",
            )),
        }
    }

    fn canonical_request(&self, head: &Parts, body: &[u8]) -> String {
        // The path is encoded once more, segment by segment, for every service but S3.
        let path: Vec<String> = head
            .uri
            .path()
            .split('/')
            .map(|segment| utf8_percent_encode(segment, ENCODED).to_string())
            .collect();
        let mut query: Vec<(String, String)> = query_pairs(head.uri.query().unwrap_or_default())
            .map(|(name, value)| {
                let encode = |text: &str| utf8_percent_encode(text, ENCODED).to_string();
                (encode(&name), encode(&value))
            })
            .collect();
        query.sort();
        let query: Vec<String> = query
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let mut headers = String::new();
        for name in &self.signed_headers {
            let values = head
                .headers
                .get_all(name.as_str())
                .iter()
                .filter_map(|value| value.to_str().ok());
            let values: Vec<String> = values
                .map(|value| value.split_ascii_whitespace().collect::<Vec<_>>().join(" "))
                .collect();
            headers.push_str(&format!("{name}:{}\n", values.join(",")));
        }
        format!(
            "{}\n{}\n{}\n{headers}\n{}\n{}",
            head.method,
            path.join("/"),
            query.join("&"),
            self.signed_headers.join(";"),
            hex(&Sha256::digest(body))
        )
    }
}

/// The code of `message` under `key`.
fn mac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let code = Hmac::<Sha256>::new_from_slice(key)
        .map(|mac| mac.chain_update(message).finalize().into_bytes());
    // HMAC takes keys of any length; an empty code would match nothing.
    code.map(|code| code.to_vec()).unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
