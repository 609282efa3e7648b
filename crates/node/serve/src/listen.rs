//! Where a node listens.

use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// A Unix socket.
    Unix(PathBuf),
    /// A TCP port.
    Tcp(SocketAddr),
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "http://{address}"),
        }
    }
}

/// Why nobody can be listened to.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Somebody else does.
    #[error("another node listens at {0}")]
    Taken(ListenAddress),
    /// Something else lies there.
    #[error("{} is there and is no socket", .0.display())]
    NoSocket(PathBuf),
    /// The host refused.
    #[error("cannot listen at {place}")]
    Host {
        /// Where.
        place: ListenAddress,
        /// What it said.
        source: io::Error,
    },
}

pub(crate) enum Listener {
    Unix(
        UnixListener,
        #[expect(dead_code, reason = "goes with the listener")] SocketFile,
    ),
    Tcp(TcpListener),
}

/// One who has come.
pub(crate) enum Comer {
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// The file of a socket; gone with the listener.
pub(crate) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

impl Listener {
    pub(crate) async fn bind(place: &ListenAddress) -> Result<(Self, ListenAddress), ListenError> {
        let host = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => ListenError::Taken(place.clone()),
            _ => ListenError::Host {
                place: place.clone(),
                source,
            },
        };
        match place {
            ListenAddress::Unix(path) => {
                clear(path).await?;
                let listener = UnixListener::bind(path).map_err(host)?;
                let file = SocketFile(path.clone());
                // Peers are asked who they are, too.
                let only_us = fs::Permissions::from_mode(0o600);
                fs::set_permissions(path, only_us).map_err(host)?;
                Ok((Self::Unix(listener, file), place.clone()))
            }
            ListenAddress::Tcp(address) => {
                let listener = TcpListener::bind(address).await.map_err(host)?;
                let bound = ListenAddress::Tcp(listener.local_addr().map_err(host)?);
                Ok((Self::Tcp(listener), bound))
            }
        }
    }

    pub(crate) async fn accept(&self) -> io::Result<Comer> {
        match self {
            Self::Unix(listener, _) => listener.accept().await.map(|(it, _)| Comer::Unix(it)),
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Comer::Tcp(stream))
            }
        }
    }
}

/// Removes the socket of a node that was killed.
async fn clear(path: &Path) -> Result<(), ListenError> {
    let Ok(there) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !there.file_type().is_socket() {
        return Err(ListenError::NoSocket(path.to_owned()));
    }
    match UnixStream::connect(path).await {
        Ok(_) => Err(ListenError::Taken(ListenAddress::Unix(path.to_owned()))),
        Err(_) => {
            let _ = fs::remove_file(path);
            Ok(())
        }
    }
}
