//! Who comes in, and for what: the first line of a connection.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proto_wire::{Hello, LINE_BYTES, TOKEN_CHARS, Welcome};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::listen::Comer;

/// Fewest characters of a token: nobody guesses so many.
const FEWEST: usize = 16;
/// How long somebody may take to say what it wants.
const HELLO_WITHIN: Duration = Duration::from_secs(5);

/// What shows that a caller may call.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// Why a file holds no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the host said.
        source: io::Error,
    },
    /// Others can read it.
    #[error("{} can be read by others", .0.display())]
    Open(PathBuf),
    /// It holds something else.
    #[error("{} must hold one line of {FEWEST} to {TOKEN_CHARS} visible characters", .0.display())]
    Malformed(PathBuf),
}

impl Token {
    /// Reads the token in a file that only its owner may read.
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        let failed = |source| TokenError::Read {
            path: path.to_owned(),
            source,
        };
        let mode = fs::metadata(path).map_err(failed)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(TokenError::Open(path.to_owned()));
        }
        let text = fs::read_to_string(path).map_err(failed)?;
        let token = text.trim_end_matches(['\n', '\r']);
        let visible = token.bytes().all(|byte| byte.is_ascii_graphic());
        match visible && (FEWEST..=TOKEN_CHARS).contains(&token.len()) {
            true => Ok(Self(token.to_owned())),
            false => Err(TokenError::Malformed(path.to_owned())),
        }
    }

    /// The token.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether somebody has it. Digests are compared, all of them, so that the time tells nothing.
    pub(crate) fn is(&self, other: &str) -> bool {
        let (ours, theirs) = (Sha256::digest(&self.0), Sha256::digest(other));
        let bits = ours.iter().zip(theirs).map(|(a, b)| a ^ b);
        bits.fold(0, |all, one| all | one) == 0
    }
}

/// Whether whoever is on the other side may be there at all, whatever it says.
pub(crate) fn is_known(comer: &Comer) -> bool {
    match comer {
        Comer::Unix(stream) => stream.peer_cred().is_ok_and(|peer| {
            let us = rustix::process::geteuid().as_raw();
            peer.uid() == us || peer.uid() == 0
        }),
        // The token decides.
        Comer::Tcp(_) => true,
    }
}

/// Hears what a comer wants; why not, if it is not let in.
pub(crate) async fn hear(
    stream: &mut (impl AsyncRead + Unpin),
    token: Option<&Token>,
) -> Result<Hello, String> {
    let line = timeout(HELLO_WITHIN, read_line(stream)).await;
    let line = line
        .map_err(|_| "it took too long".to_owned())?
        .map_err(|error| error.to_string())?;
    let hello = Hello::parse(&line).map_err(|error| error.to_string())?;
    let Some(token) = token else {
        return Ok(hello);
    };
    match hello.token.as_deref().is_some_and(|given| token.is(given)) {
        true => Ok(hello),
        false => Err("the token is not this node's".to_owned()),
    }
}

/// Says how it was taken.
pub(crate) async fn welcome(
    stream: &mut (impl AsyncWrite + Unpin),
    how: &Welcome,
) -> io::Result<()> {
    stream.write_all(how.line().as_bytes()).await?;
    stream.flush().await
}

/// Reads up to the end of the line and not a byte further: what follows is another protocol.
async fn read_line(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<String> {
    let mut line = Vec::new();
    loop {
        match stream.read_u8().await? {
            b'\n' => break,
            _ if line.len() == LINE_BYTES => return Err(io::ErrorKind::InvalidData.into()),
            byte => line.push(byte),
        }
    }
    String::from_utf8(line).map_err(|_| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str, mode: u32) -> Result<Token, TokenError> {
        let directory = std::env::temp_dir().join(uuid::Uuid::new_v4().to_string());
        fs::create_dir(&directory).expect("made");
        let path = directory.join("token");
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("changed");
        let token = Token::read(&path);
        fs::remove_dir_all(directory).expect("removed");
        token
    }

    #[test]
    fn a_token_is_long_and_only_its_owner_reads_it() {
        let good = written("0123456789abcdef\n", 0o600).expect("a token");
        assert!(good.is("0123456789abcdef") && !good.is("0123456789abcdee") && !good.is(""));
        assert_eq!(format!("{good:?}"), "Token");
        let open = written("0123456789abcdef", 0o640);
        assert!(matches!(open, Err(TokenError::Open(_))));
        for text in ["", "short", "0123456789 abcdef", "0123456789abcdef\nmore"] {
            let odd = written(text, 0o600);
            assert!(matches!(odd, Err(TokenError::Malformed(_))), "{text}");
        }
    }

    #[tokio::test]
    async fn only_who_has_the_token_comes_in() {
        let token = Token("0123456789abcdef".to_owned());
        for (line, may) in [
            ("REKINDLE 1 taken - 0123456789abcdef\n", true),
            ("REKINDLE 1 taken - 0123456789abcdeX\n", false),
            ("REKINDLE 1 taken - -\n", false),
            ("GET / HTTP/1.1\n", false),
            ("REKINDLE 1 taken", false),
        ] {
            let heard = hear(&mut line.as_bytes(), Some(&token)).await;
            assert_eq!(heard.is_ok(), may, "{line}: {heard:?}");
        }
        let endless = vec![b'x'; 10_000];
        assert!(hear(&mut &endless[..], None).await.is_err());
    }
}
