//! TLS with a certificate and its key from files.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// Longest file in bytes; a chain of certificates has some ten thousand.
const MAX_BYTES: u64 = 1024 * 1024;
/// Permissions on the key that group and others must not have.
const OTHERS: u32 = 0o077;
/// What is spoken inside.
const HTTP: &[u8] = b"http/1.1";

/// What shows who the server is, and keeps what is sent to itself and its clients.
#[derive(Clone)]
pub struct Tls(pub(crate) TlsAcceptor);

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What came back.
        source: io::Error,
    },
    /// Others than its owner can read or change the key.
    #[error("others can read or change {} (mode {mode:04o}): chmod 600 it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It holds something else than it should.
    #[error("{} holds no {what} in PEM", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// Certificate and key do not fit each other, or are of no use.
    #[error("the certificate cannot be used: {0}")]
    Unusable(String),
}

/// Reads a certificate, with those that vouch for it, and its key, both in PEM; the key is readable by its owner only.
///
/// # Errors
/// When one cannot be read or used, or others can read the key.
pub fn read_tls(certificate: &Path, key: &Path) -> Result<Tls, TlsError> {
    let malformed = |path: &Path, what| TlsError::Malformed {
        path: path.to_owned(),
        what,
    };
    let (pem, _) = read(certificate)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.map_err(|_| malformed(certificate, "certificate"))?;
    if chain.is_empty() {
        return Err(malformed(certificate, "certificate"));
    }
    let (pem, mode) = read(key)?;
    if mode & OTHERS != 0 {
        return Err(TlsError::Exposed {
            path: key.to_owned(),
            mode,
        });
    }
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| malformed(key, "private key"))?;
    let unusable = |error: rustls::Error| TlsError::Unusable(error.to_string());
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(unusable)?;
    config.alpn_protocols = vec![HTTP.to_vec()];
    Ok(Tls(TlsAcceptor::from(Arc::new(config))))
}

fn read(path: &Path) -> Result<(Vec<u8>, u32), TlsError> {
    let read = || {
        let file = File::open(path)?;
        let mode = file.metadata()?.mode() & 0o7777;
        let mut bytes = Vec::new();
        if file.take(MAX_BYTES + 1).read_to_end(&mut bytes)? as u64 > MAX_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok((bytes, mode))
    };
    read().map_err(|source| TlsError::Read {
        path: path.to_owned(),
        source,
    })
}
