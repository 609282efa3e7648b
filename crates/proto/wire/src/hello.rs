//! The first line of a connection: what it is for and who may use it.

use std::fmt;

/// Version of the protocol.
pub const VERSION: u32 = 1;
/// Longest line in bytes.
pub const LINE_BYTES: usize = 512;
/// Longest token in characters.
pub const TOKEN_CHARS: usize = 256;

const WORD: &str = "REKINDLE";
/// For what is not there.
const NONE: &str = "-";

/// Names what belongs together: a side connection and the main connection that its events come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Session(pub u128);

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Session {
    fn parse(text: &str) -> Option<Self> {
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        u128::from_str_radix(text, 16)
            .ok()
            .filter(|_| digits)
            .map(Self)
    }
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To hear which events are taken; begins a session.
    Taken,
    /// To make calls in a session.
    Calls(Session),
}

/// Why a line is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// It is something else.
    #[error("it does not speak this protocol")]
    Foreign,
    /// Another version.
    #[error("it speaks version {0} of the protocol, this program version {VERSION}")]
    Version(u32),
}

/// What the one who connects says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// What the connection is for.
    pub purpose: Purpose,
    /// What shows that it may; graphic ASCII, at most [`TOKEN_CHARS`].
    pub token: Option<String>,
}

impl Hello {
    /// The line, with its end.
    pub fn line(&self) -> String {
        let token = self.token.as_deref().unwrap_or(NONE);
        match self.purpose {
            Purpose::Taken => format!("{WORD} {VERSION} taken {NONE} {token}\n"),
            Purpose::Calls(session) => format!("{WORD} {VERSION} calls {session} {token}\n"),
        }
    }

    /// Reads a line, without its end.
    pub fn parse(line: &str) -> Result<Self, HelloError> {
        let words: Vec<&str> = line.split(' ').collect();
        let [WORD, version, rest @ ..] = words.as_slice() else {
            return Err(HelloError::Foreign);
        };
        check_version(version)?;
        let &[purpose, session, token] = rest else {
            return Err(HelloError::Foreign);
        };
        let purpose = match (purpose, Session::parse(session)) {
            ("taken", None) if session == NONE => Purpose::Taken,
            ("calls", Some(session)) => Purpose::Calls(session),
            _ => return Err(HelloError::Foreign),
        };
        let graphic = token.bytes().all(|byte| byte.is_ascii_graphic());
        if !graphic || token.is_empty() || token.len() > TOKEN_CHARS {
            return Err(HelloError::Foreign);
        }
        let token = (token != NONE).then(|| token.to_owned());
        Ok(Self { purpose, token })
    }
}

fn check_version(version: &str) -> Result<(), HelloError> {
    match version.parse() {
        Ok(VERSION) => Ok(()),
        Ok(other) => Err(HelloError::Version(other)),
        Err(_) => Err(HelloError::Foreign),
    }
}

/// What the node says to that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Welcome {
    /// The session that the connection belongs to.
    Session(Session),
    /// Why it does not want to.
    Refused(String),
}

impl Welcome {
    /// The line, with its end.
    pub fn line(&self) -> String {
        match self {
            Self::Session(session) => format!("OK {session}\n"),
            Self::Refused(reason) => {
                let reason = reason.replace(['\n', '\r'], " ");
                let kept: String = reason.chars().take(LINE_BYTES / 8).collect();
                format!("NO {kept}\n")
            }
        }
    }

    /// Reads a line, without its end.
    pub fn parse(line: &str) -> Result<Self, HelloError> {
        let (word, rest) = line.split_once(' ').ok_or(HelloError::Foreign)?;
        match word {
            "OK" => Session::parse(rest)
                .map(Self::Session)
                .ok_or(HelloError::Foreign),
            "NO" => Ok(Self::Refused(rest.to_owned())),
            _ => Err(HelloError::Foreign),
        }
    }
}
