//! Who may ask at all and whom, before a request is looked at.
//!
//! Without keys everything on this machine may ask, and that must not include web pages in a
//! browser on this machine: a page can send a POST to a loopback address, and with a name that
//! it points there (DNS rebinding) also read answers. Browsers give themselves away by `Origin`
//! or `Sec-Fetch-Site`, rebinding by a foreign name in `Host`.

use std::net::IpAddr;

use http::{HeaderMap, Uri, Version};
use proto_lambda::{ApiError, ErrorCode};

use crate::call::header;

fn denied(message: &str) -> ApiError {
    ApiError::new(ErrorCode::ACCESS_DENIED, message)
}

/// Checks that a request says whom it asks: once, as its version demands, and in the form of a host (RFC 9112, 3.2).
pub(crate) fn check_host(version: Version, headers: &HeaderMap) -> Result<(), ApiError> {
    let refused = |message: &str| Err(ApiError::new(ErrorCode::SERIALIZATION, message));
    let mut hosts = headers.get_all(http::header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if version >= Version::HTTP_11 => refused("The request has no Host."),
        (Some(_), Some(_)) => refused("The request has more than one Host."),
        (Some(host), None) if !host.as_bytes().iter().all(in_host) => {
            refused("The request's Host is no name of a host.")
        }
        _ => Ok(()),
    }
}

/// Whether a byte may stand in a host with its port (RFC 3986, 3.2.2).
fn in_host(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(byte)
}

/// Checks a request to a server without keys.
pub(crate) fn check_local(headers: &HeaderMap, uri: &Uri) -> Result<(), ApiError> {
    let fetched = header(headers, "sec-fetch-site").is_some_and(|site| site != "none");
    if headers.contains_key(http::header::ORIGIN) || fetched {
        return Err(denied(
            "Requests from web pages are not served; start the server with --keys, and sign them.",
        ));
    }
    match host_of(headers, uri) {
        Some(host) if !is_local(host) => Err(denied(
            "This server has no keys, so it answers to loopback names only; use 127.0.0.1 or localhost, or start it with --keys.",
        )),
        _ => Ok(()),
    }
}

/// The authority that the client asked.
pub(crate) fn host_of<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> Option<&'a str> {
    uri.authority()
        .map(|authority| authority.as_str())
        .or_else(|| header(headers, "host"))
}

fn is_local(authority: &str) -> bool {
    let host = match authority
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        Some((v6, _)) => v6,
        None => authority
            .rsplit_once(':')
            .map_or(authority, |(host, _)| host),
    };
    let lower = host.to_ascii_lowercase();
    lower == "localhost"
        || lower.ends_with(".localhost")
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pairs: &[(&'static str, &str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, value.parse().unwrap());
        }
        check_local(&headers, &Uri::from_static("/")).is_ok()
    }

    #[test]
    fn browsers_and_rebound_names_are_turned_away() {
        for host in [
            "127.0.0.1:9000",
            "localhost",
            "LOCALHOST:1",
            "[::1]:9000",
            "lambda.localhost:80",
            "127.8.8.8",
        ] {
            assert!(check(&[("host", host)]), "{host}");
        }
        for host in [
            "evil.example:9000",
            "10.0.0.1",
            "localhost.evil.example",
            "[::2]:1",
        ] {
            assert!(!check(&[("host", host)]), "{host}");
        }
        assert!(!check(&[
            ("host", "localhost"),
            ("origin", "http://localhost:3000")
        ]));
        assert!(!check(&[
            ("host", "localhost"),
            ("sec-fetch-site", "cross-site")
        ]));
        assert!(check(&[("host", "localhost"), ("sec-fetch-site", "none")]));
        assert!(check(&[]));
    }

    #[test]
    fn a_request_says_once_whom_it_asks() {
        let check = |version, hosts: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for host in hosts {
                let value = http::HeaderValue::from_bytes(host).unwrap();
                headers.append("host", value);
            }
            check_host(version, &headers).is_ok()
        };
        for host in ["", "localhost", "a.b:9000", "[::1]:80", "x_y"] {
            assert!(check(Version::HTTP_11, &[host.as_bytes()]), "{host}");
        }
        for host in [&b"\xff\xfe"[..], b"a b", b"a/b", b"u@h", b"a#"] {
            assert!(!check(Version::HTTP_11, &[host]), "{host:?}");
        }
        assert!(!check(Version::HTTP_11, &[]) && check(Version::HTTP_10, &[]));
        assert!(!check(Version::HTTP_10, &[b"a", b"a"]));
    }
}
