//! TLS with a certificate from files; `tests/tls` has one for localhost that nobody else trusts.

mod support;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use edge_gateway::{Config, TlsError, read_tls};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use support::{
    Server,
    http::{Reply, create, request},
    scripted::Scripted,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/tls")
        .join(name)
}

/// The key, with these permissions: those of a checkout are anybody's.
fn key(directory: &Path, mode: u32) -> PathBuf {
    let path = directory.join("key.pem");
    fs::copy(file("key.pem"), &path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

fn client() -> TlsConnector {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(file("cert.pem")).unwrap();
    roots.add(certificate).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

#[tokio::test]
async fn clients_that_trust_the_certificate_are_served_and_plain_http_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let tls = read_tls(&file("cert.pem"), &key(directory.path(), 0o600)).unwrap();
    let config = Config {
        tls: Some(tls),
        ..Config::default()
    };
    let server = Server::start(config, Scripted::new().0).await;
    let stream = TcpStream::connect(server.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = client().connect(name, stream).await.unwrap();
    let asked = request("GET", "/2015-03-31/functions", &[], b"");
    stream.write_all(&asked).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert_eq!(Reply::parse(&answer).status, 200);
    let mut plain = TcpStream::connect(server.address).await.unwrap();
    plain.write_all(&asked).await.unwrap();
    let mut told = Vec::new();
    let _ = plain.read_to_end(&mut told).await;
    assert!(!told.starts_with(b"HTTP/"), "{told:?}");
    server.stop().await;
}

#[tokio::test]
async fn files_that_others_can_read_or_that_do_not_fit_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let exposed = read_tls(&file("cert.pem"), &key(directory.path(), 0o644));
    assert!(matches!(exposed, Err(TlsError::Exposed { .. })));
    let key = key(directory.path(), 0o600);
    let none = read_tls(&key, &key);
    assert!(matches!(none, Err(TlsError::Malformed { .. })));
    let missing = read_tls(&file("missing"), &key);
    assert!(matches!(missing, Err(TlsError::Read { .. })));
    // Without TLS as before.
    let server = Server::start(Config::default(), Scripted::new().0).await;
    create(server.address, "f", "echo").await;
    server.stop().await;
}
