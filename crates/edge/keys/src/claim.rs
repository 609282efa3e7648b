//! Who a request says it is from: in its `Authorization` header, or in its query (a presigned request).

use http::HeaderMap;
use http::request::Parts;
use proto_lambda::{ApiError, ErrorCode};

use crate::canonical::{ALGORITHM, QUERY_SIGNATURE, query_pairs};
use crate::{AccessKey, unhex};

/// Hex digits of a SHA-256 digest.
const DIGEST_CHARS: usize = 64;
/// What stands for the digest of a body that is not signed.
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
/// Longest life of a presigned request in seconds: seven days, as at AWS.
const LONGEST_LIFE: u64 = 7 * 24 * 60 * 60;

/// What a request says of its signature, as it stands there.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) key_id: String,
    /// `date/region/service/aws4_request`
    pub(crate) scope: String,
    pub(crate) time: String,
    pub(crate) signed: Vec<String>,
    pub(crate) signature: Vec<u8>,
    pub(crate) life: Life,
}

/// How long a signature is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// For one request, within the clocks' difference.
    Once,
    /// For any number of the same request in so many seconds from its date on.
    Seconds(u64),
}

/// What a signature says of the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Payload {
    /// It covers it; which one it is shows when that is read.
    Covered,
    /// It covers this digest, a header.
    Digest(String),
    /// Nothing.
    Unsigned,
}

/// A request's claim, of which everything in its head is checked.
#[derive(Debug)]
#[must_use = "nothing is proven before the body is held against it"]
pub struct Claim {
    pub(crate) said: Said,
    pub(crate) key: AccessKey,
    pub(crate) payload: Payload,
}

pub(crate) fn incomplete(what: &str) -> ApiError {
    ApiError::new(
        ErrorCode::INCOMPLETE_SIGNATURE,
        format!("Authorization header requires {what}."),
    )
}

pub(crate) fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::INVALID_SIGNATURE, message)
}

/// The one value of a header; several are as bad as one that is no text.
pub(crate) fn only<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, ApiError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => match value.to_str() {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(incomplete(&format!("a '{name}' of visible characters"))),
        },
        (Some(_), Some(_)) => Err(incomplete(&format!("no more than one '{name}'"))),
    }
}

impl Said {
    /// Reads it, from whichever of the two places it is in.
    pub(crate) fn read(head: &Parts) -> Result<Self, ApiError> {
        let query = head.uri.query().unwrap_or_default();
        let presigned = query_pairs(query).any(|(name, _)| name == QUERY_SIGNATURE);
        match (only(&head.headers, "authorization")?, presigned) {
            (Some(_), true) => Err(incomplete("that the query has no signature as well")),
            (Some(authorization), false) => Self::in_header(authorization, &head.headers),
            (None, true) => Self::in_query(query),
            (None, false) => Err(ApiError::new(
                ErrorCode::MISSING_AUTHENTICATION_TOKEN,
                "Missing Authentication Token",
            )),
        }
    }

    fn in_header(authorization: &str, headers: &HeaderMap) -> Result<Self, ApiError> {
        let fields = authorization
            .strip_prefix(ALGORITHM)
            .ok_or_else(|| incomplete(ALGORITHM))?;
        let field = |name: &str| {
            let pairs = fields.split(',');
            pairs
                .filter_map(|pair| pair.trim().split_once('='))
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.to_owned())
                .ok_or_else(|| incomplete(&format!("'{name}' parameter")))
        };
        let time = only(headers, "x-amz-date")?;
        let time = time.ok_or_else(|| incomplete("existence of 'X-Amz-Date'"))?;
        Self::new(
            &field("Credential")?,
            &field("SignedHeaders")?,
            &field("Signature")?,
            time.to_owned(),
            Life::Once,
        )
    }

    fn in_query(query: &str) -> Result<Self, ApiError> {
        let field = |name: &str| {
            let mut values = query_pairs(query).filter(|(key, _)| key == name);
            match (values.next(), values.next()) {
                (Some((_, value)), None) => Ok(value),
                _ => Err(incomplete(&format!("one '{name}' in the query"))),
            }
        };
        if field("X-Amz-Algorithm")? != ALGORITHM {
            return Err(incomplete(ALGORITHM));
        }
        let life = field("X-Amz-Expires")?.parse().ok();
        let life = life.filter(|seconds| (1..=LONGEST_LIFE).contains(seconds));
        let life = life.ok_or_else(|| {
            incomplete("an 'X-Amz-Expires' of at least 1 and at most 604800 seconds")
        })?;
        Self::new(
            &field("X-Amz-Credential")?,
            &field("X-Amz-SignedHeaders")?,
            &field(QUERY_SIGNATURE)?,
            field("X-Amz-Date")?,
            Life::Seconds(life),
        )
    }

    fn new(
        credential: &str,
        signed: &str,
        signature: &str,
        time: String,
        life: Life,
    ) -> Result<Self, ApiError> {
        let scope = credential.split_once('/');
        let (key_id, scope) = scope.ok_or_else(|| incomplete("a credential scope"))?;
        let signature = unhex(signature).ok_or_else(|| incomplete("a signature in hex"))?;
        // They sort as the moments do.
        let digits = |range: std::ops::Range<usize>| {
            let part: Option<&str> = time.get(range);
            part.is_some_and(|part| part.bytes().all(|byte| byte.is_ascii_digit()))
        };
        let dated = time.len() == 16 && digits(0..8) && digits(9..15);
        if !dated || time.get(8..9) != Some("T") || !time.ends_with('Z') {
            return Err(incomplete("a date such as 20260101T000000Z"));
        }
        Ok(Self {
            key_id: key_id.to_owned(),
            scope: scope.to_owned(),
            signed: signed.split(';').map(str::to_owned).collect(),
            signature,
            time,
            life,
        })
    }

    /// Whether everything is signed that could change what the request does.
    pub(crate) fn check_signed(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        if !self.signed.is_sorted_by(|one, next| one < next) {
            return Err(incomplete("'SignedHeaders' in order, each once"));
        }
        let has = |name: &str| self.signed.iter().any(|signed| signed == name);
        if let Some(absent) = self.signed.iter().find(|name| !headers.contains_key(*name)) {
            return Err(incomplete(&format!("the header '{absent}' that is signed")));
        }
        let ours = headers.keys().map(|name| name.as_str());
        let must = ours
            .filter(|name| name.starts_with("x-amz-"))
            .chain(["host"]);
        match must.into_iter().find(|name| !has(name)) {
            Some(unsigned) => Err(incomplete(&format!("'{unsigned}' to be signed"))),
            None => Ok(()),
        }
    }
}

impl Payload {
    /// What the headers say of the body; that they are signed is checked.
    pub(crate) fn read(headers: &HeaderMap) -> Result<Self, ApiError> {
        let Some(value) = only(headers, "x-amz-content-sha256")? else {
            return Ok(Self::Covered);
        };
        let digest = |text: &str| {
            text.len() == DIGEST_CHARS && text.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        match value {
            UNSIGNED => Ok(Self::Unsigned),
            text if digest(text) => Ok(Self::Digest(text.to_ascii_lowercase())),
            _ => Err(incomplete(
                "an 'x-amz-content-sha256' that is a SHA-256 digest in hex or UNSIGNED-PAYLOAD",
            )),
        }
    }

    /// What the signature covers of it.
    pub(crate) fn signed(&self) -> Option<&str> {
        match self {
            Self::Covered => None,
            Self::Digest(digest) => Some(digest),
            Self::Unsigned => Some(UNSIGNED),
        }
    }
}
