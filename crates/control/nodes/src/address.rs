//! Where a node is.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where a node listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Address {
    /// `unix:PATH`: a Unix socket.
    Unix(PathBuf),
    /// `http://HOST:PORT`: a TCP port.
    Tcp(String),
}

/// A text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no address of a node: unix:PATH and http://HOST:PORT are")]
pub struct AddressError(String);

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let wrong = || AddressError(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            return Ok(Self::Unix(path.into()));
        }
        let authority = text.strip_prefix("http://").ok_or_else(wrong)?;
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        let (host, port) = authority.rsplit_once(':').ok_or_else(wrong)?;
        let known = !host.is_empty() && !authority.contains('/');
        match port.parse::<u16>() {
            Ok(1..) if known => Ok(Self::Tcp(authority.to_owned())),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(authority) => write!(f, "http://{authority}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_paths_or_ports() {
        for text in [
            "unix:/run/n.sock",
            "http://127.0.0.1:9100",
            "http://[::1]:9100",
        ] {
            assert_eq!(
                text.parse::<Address>().map(|it| it.to_string()),
                Ok(text.into())
            );
        }
        assert!("http://host:1/".parse::<Address>().is_ok());
        for text in [
            "",
            "unix:",
            "http://host",
            "http://:1",
            "http://h:0",
            "http://h:1/x",
            "h:1",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
