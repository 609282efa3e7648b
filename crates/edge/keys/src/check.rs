//! Checks that a request was signed with a key of ours, for us, now, and not before.
//!
//! Lock order: the keys and the signatures seen are leaves.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::Mac;
use http::request::Parts;
use http::{HeaderMap, Method};
use parking_lot::Mutex;
use proto_lambda::{ApiError, ErrorCode, http_date_basic};
use sha2::{Digest, Sha256};

use crate::canonical::{Covered, SCOPE_END, SERVICE};
use crate::claim::{Claim, Life, Payload, Said, incomplete, invalid, only};
use crate::hex;
use crate::key::Place;
use crate::replay::{Replays, Seen};
use crate::ring::KeyRing;

/// How far the client's clock may be from ours, and so how long a signature may be used; AWS takes five minutes to
/// fifteen.
const SKEW: Duration = Duration::from_secs(5 * 60);
/// Highest byte of a header's value: beyond it is no ASCII, and what is no text would not be in what is signed.
const LAST_VISIBLE: u8 = 0x7e;

/// What lies between a client and us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Nobody can change what is sent: TLS, or this machine.
    Private,
    /// A network that anybody may be on.
    Open,
}

/// Whether a request whose signature was used before may be answered again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repeats {
    /// It only reads, or its signature is made for that.
    Harmless,
    /// It does something.
    Refused,
}

/// Checks requests.
#[derive(Debug)]
pub struct Checker {
    keys: Arc<KeyRing>,
    place: Place,
    seen: Mutex<Replays>,
}

impl Checker {
    /// Requests to a server there, signed with these keys.
    pub fn new(keys: Arc<KeyRing>, place: Place) -> Self {
        Self {
            keys,
            place,
            seen: Mutex::default(),
        }
    }

    /// How many keys may sign now.
    pub fn keys(&self) -> usize {
        self.keys.count()
    }

    /// Checks all that a request's head says; where its signature covers no more than that, the signature too.
    ///
    /// # Errors
    /// As AWS answers what is not signed, signed for something else, at another time, or wrongly.
    pub fn check_head(
        &self,
        head: &Parts,
        transport: Transport,
        now: SystemTime,
    ) -> Result<Claim, ApiError> {
        check_values(&head.headers)?;
        let said = Said::read(head)?;
        let key = self.keys.find(&said.key_id);
        let key = match only(&head.headers, "x-amz-security-token")? {
            // We give none, so nobody can have one of ours.
            Some(_) => None,
            None => key,
        };
        let key = key.ok_or_else(|| {
            ApiError::new(
                ErrorCode::UNRECOGNIZED_CLIENT,
                "The security token included in the request is invalid.",
            )
        })?;
        self.check_scope(&said)?;
        check_time(&said, now)?;
        said.check_signed(&head.headers)?;
        let payload = Payload::read(&head.headers)?;
        if payload == Payload::Unsigned && transport == Transport::Open {
            return Err(invalid(
                "The body must be signed where anybody could change it: use TLS, or sign its digest.",
            ));
        }
        let claim = Claim { said, key, payload };
        if let Some(payload) = claim.payload.signed() {
            self.check_signature(&claim, head, payload)?;
        }
        Ok(claim)
    }

    /// Holds the body of a request against its claim; then nobody can send the same again after a moment.
    ///
    /// # Errors
    /// As AWS answers a wrong signature.
    pub fn check_body(
        &self,
        claim: &Claim,
        head: &Parts,
        body: &[u8],
        now: SystemTime,
    ) -> Result<(), ApiError> {
        match &claim.payload {
            Payload::Covered => {
                self.check_signature(claim, head, &hex(&Sha256::digest(body)))?;
            }
            Payload::Digest(digest) if *digest != hex(&Sha256::digest(body)) => {
                return Err(invalid(
                    "The body is not the one that was signed: 'x-amz-content-sha256' has another digest.",
                ));
            }
            Payload::Digest(_) | Payload::Unsigned => {}
        }
        match repeats(&claim.said, &head.method) {
            Repeats::Harmless => Ok(()),
            Repeats::Refused => self.check_new(&claim.said, now),
        }
    }

    fn check_scope(&self, said: &Said) -> Result<(), ApiError> {
        let [date, region, service, end] = said.scope.split('/').collect::<Vec<_>>()[..] else {
            return Err(incomplete("a credential scope of four parts"));
        };
        if service != SERVICE || end != SCOPE_END {
            return Err(invalid(
                "Credential should be scoped to correct service: 'lambda'.",
            ));
        }
        if region != self.place.region {
            return Err(invalid(format!(
                "Credential should be scoped to a valid region: '{}'.",
                self.place.region
            )));
        }
        if date.len() != 8 || !said.time.starts_with(date) {
            return Err(invalid(
                "Credential should be scoped to the date of 'X-Amz-Date'.",
            ));
        }
        Ok(())
    }

    fn check_signature(&self, claim: &Claim, head: &Parts, payload: &str) -> Result<(), ApiError> {
        let Claim { said, key, .. } = claim;
        let covered = Covered {
            method: &head.method,
            uri: &head.uri,
            headers: &head.headers,
            signed: &said.signed,
            payload,
        };
        let code = covered.code(&key.secret, &said.time, &said.scope);
        if code.is_none_or(|code| code.verify_slice(&said.signature).is_err()) {
            return Err(invalid(
                "The request signature we calculated does not match the signature you provided. \
                 Check your AWS Secret Access Key and signing method. Consult the service documentation for details.",
            ));
        }
        match &key.account {
            Some(account) if *account != self.place.account => Err(ApiError::new(
                ErrorCode::ACCESS_DENIED,
                format!(
                    "The access key belongs to account {account}; this server serves account {}.",
                    self.place.account
                ),
            )),
            _ => Ok(()),
        }
    }

    fn check_new(&self, said: &Said, now: SystemTime) -> Result<(), ApiError> {
        let oldest = http_date_basic(now.checked_sub(SKEW).unwrap_or(UNIX_EPOCH));
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut seen = self.seen.lock();
        let seen = seen.see(&said.signature, &said.time, &oldest, since);
        match seen {
            Seen::Good => Ok(()),
            Seen::Before => Err(invalid("This request was made before: sign each anew.")),
            Seen::TooOld => Err(invalid(format!(
                "Signature expired: {} is too long ago while so many requests come.",
                said.time
            ))),
        }
    }
}

fn repeats(said: &Said, method: &Method) -> Repeats {
    match said.life {
        Life::Seconds(_) => Repeats::Harmless,
        Life::Once if method == Method::GET => Repeats::Harmless,
        Life::Once => Repeats::Refused,
    }
}

fn check_values(headers: &HeaderMap) -> Result<(), ApiError> {
    let visible = |byte: &u8| (b' '..=LAST_VISIBLE).contains(byte) || *byte == b'\t';
    match headers
        .iter()
        .find(|(_, value)| !value.as_bytes().iter().all(visible))
    {
        Some((name, _)) => Err(incomplete(&format!("a '{name}' of visible characters"))),
        None => Ok(()),
    }
}

fn check_time(said: &Said, now: SystemTime) -> Result<(), ApiError> {
    let before = |span: Duration| now.checked_sub(span).unwrap_or(UNIX_EPOCH);
    let from = http_date_basic(match said.life {
        Life::Once => before(SKEW),
        Life::Seconds(seconds) => before(Duration::from_secs(seconds)),
    });
    let to = http_date_basic(now + SKEW);
    // The form sorts as the moments do.
    if said.time < from {
        return Err(invalid(format!(
            "Signature expired: {} is now earlier than {from}",
            said.time
        )));
    }
    if said.time > to {
        return Err(invalid(format!(
            "Signature not yet current: {} is still later than {to}",
            said.time
        )));
    }
    Ok(())
}
