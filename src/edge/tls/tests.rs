#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{fs, io};

use rcgen::{CertifiedKey as Issued, KeyPair, generate_simple_self_signed};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;

/// A folder with `cert.pem` and `key.pem`.
struct Folder(TempDir);

impl Folder {
    fn with(issued: &Issued<KeyPair>) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.install(issued);
        folder
    }

    fn install(&self, issued: &Issued<KeyPair>) {
        self.write("cert.pem", &issued.cert.pem());
        self.write("key.pem", &issued.signing_key.serialize_pem());
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.path().join(name), text).unwrap();
    }

    fn settings(&self) -> config::Tls {
        config::Tls {
            enabled: true,
            port: 0,
            cert_file: Some(self.0.path().join("cert.pem")),
            key_file: Some(self.0.path().join("key.pem")),
        }
    }

    /// The complaint when the server is started with these files.
    fn fault(&self) -> String {
        server_config(&self.settings()).unwrap_err()[0].to_string()
    }
}

fn issue() -> Issued<KeyPair> {
    generate_simple_self_signed(["localhost".to_owned()]).unwrap()
}

/// The certificate and the protocol that a client gets which trusts only `trusted`.
async fn handshake(server: &Arc<ServerConfig>, trusted: &Issued<KeyPair>) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let acceptor = TlsAcceptor::from(server.clone());
    let serve = async move {
        let (socket, _) = listener.accept().await.unwrap();
        acceptor.accept(socket).await
    };

    let mut roots = RootCertStore::empty();
    roots.add(trusted.cert.der().clone()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let connect = async {
        let socket = TcpStream::connect(address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(client)).connect(name, socket).await
    };

    let (_served, connected) = tokio::join!(serve, connect);
    let connected = connected?;
    let (_, session) = connected.get_ref();
    let certificate = session.peer_certificates().unwrap()[0].to_vec();
    Ok((certificate, session.alpn_protocol().unwrap().to_vec()))
}

#[tokio::test]
async fn a_changed_certificate_is_served_after_the_reload_and_not_before() {
    let (old, new) = (issue(), issue());
    let folder = Folder::with(&old);
    let (server, reloader) = server_config(&folder.settings()).unwrap();
    let server = Arc::new(server);

    let (certificate, protocol) = handshake(&server, &old).await.unwrap();
    assert_eq!(certificate, old.cert.der().to_vec());
    assert_eq!(protocol, b"http/1.1");
    assert!(!reloader.reload_if_changed().unwrap(), "nothing has changed yet");

    folder.install(&new);
    handshake(&server, &old).await.expect("the old one is served until the reload");
    assert!(reloader.reload_if_changed().unwrap());
    let (certificate, _) = handshake(&server, &new).await.unwrap();
    assert_eq!(certificate, new.cert.der().to_vec());
    assert!(handshake(&server, &old).await.is_err());
}

#[tokio::test]
async fn a_broken_new_file_keeps_the_old_certificate_and_is_told_once() {
    let (old, new) = (issue(), issue());
    let folder = Folder::with(&old);
    let (server, reloader) = server_config(&folder.settings()).unwrap();
    let server = Arc::new(server);

    // The moment between the two writes of a renewal.
    folder.write("cert.pem", &new.cert.pem());
    let faults = reloader.reload_if_changed().unwrap_err();
    assert!(faults[0].to_string().contains("is not the key of the first certificate"), "{faults:?}");
    assert!(!reloader.reload_if_changed().unwrap(), "the same fault again is no news");

    fs::remove_file(folder.0.path().join("cert.pem")).unwrap();
    let faults = reloader.reload_if_changed().unwrap_err();
    assert!(faults[0].to_string().starts_with("cannot read tls.cert_file"), "{faults:?}");
    assert!(!reloader.reload_if_changed().unwrap(), "the same fault again is no news");
    handshake(&server, &old).await.expect("the old certificate is still served");

    folder.install(&old);
    assert!(!reloader.reload_if_changed().unwrap(), "back as it was: nothing changes for clients");
    folder.install(&new);
    assert!(reloader.reload_if_changed().unwrap());
    handshake(&server, &new).await.unwrap();
}

#[test]
fn settings_without_files_are_refused_by_name() {
    let folder = Folder::with(&issue());
    let no_cert = config::Tls { cert_file: None, ..folder.settings() };
    assert_eq!(
        server_config(&no_cert).unwrap_err()[0].to_string(),
        "tls.enabled is true, but tls.cert_file is not set: name the PEM file"
    );
    let no_key = config::Tls { key_file: None, ..folder.settings() };
    assert!(server_config(&no_key).unwrap_err()[0].to_string().contains("tls.key_file"));
}

#[test]
fn a_missing_file_is_named() {
    let folder = Folder::with(&issue());
    fs::remove_file(folder.0.path().join("key.pem")).unwrap();
    let fault = folder.fault();
    assert!(fault.starts_with("cannot read tls.key_file \""), "{fault}");
    assert!(fault.contains("key.pem") && fault.contains("No such file"), "{fault}");
}

#[test]
fn files_with_the_wrong_contents_are_told_apart() {
    let issued = issue();
    let (cert, key) = (issued.cert.pem(), issued.signing_key.serialize_pem());
    let folder = Folder::with(&issued);
    let table = [
        (key.as_str(), key.as_str(), "holds no certificate"),
        (&cert, &cert, "holds no private key"),
        ("", &key, "holds no certificate"),
        ("-----BEGIN CERTIFICATE-----\nAAAA", &key, "is not valid PEM"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &key, "cannot be used"),
        (&cert, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "cannot be used"),
        (&cert, &issue().signing_key.serialize_pem(), "is not the key of the first certificate"),
    ];
    for (cert_pem, key_pem, expected) in table {
        folder.write("cert.pem", cert_pem);
        folder.write("key.pem", key_pem);
        let fault = folder.fault();
        assert!(fault.contains(expected), "expected {expected:?}: {fault}");
        assert!(fault.contains(".pem\""), "names no file: {fault}");
    }
}
