//! TLS: the rustls configuration from two PEM files, and their replacement while the server runs.
//!
//! Go's silent way back to plain HTTP when a file is missing is not taken: every fault here refuses
//! the start (docs/protocols/letshare.md §4 "TLS"). Not here: the listener, and the timer that calls
//! [`CertificateReloader::reload_if_changed`]; `app` has both.

use std::{mem, path::PathBuf, sync::Arc};

use parking_lot::{Mutex, RwLock};
use rustls::{
    InconsistentKeys, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    server::{ClientHello, ResolvesServerCert},
    sign::{CertifiedKey, SigningKey},
};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject as _},
};
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::config;

/// What is wrong with the certificate or its key. The text names the file and the way out.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct TlsFault {
    /// The setting that it is about.
    pub key: &'static str,
    text: String,
}

impl TlsFault {
    fn new(key: &'static str, text: String) -> Self {
        Self { key, text }
    }
}

/// The server side of TLS 1.2 and 1.3 with HTTP/1.1 on top, and what keeps its certificate fresh.
///
/// Reads the files at once.
///
/// # Errors
/// Everything that is wrong with the two files; the caller refuses the start.
pub fn server_config(tls: &config::Tls) -> Result<(ServerConfig, CertificateReloader), Vec<TlsFault>> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let files = CertificateFiles::named_in(tls)?;
    let contents = files.read()?;
    let fingerprint = contents.fingerprint();
    let served = Arc::new(Served(RwLock::new(files.parse(&contents, &provider)?)));

    let mut server = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| vec![TlsFault::new("tls.enabled", format!("rustls refused the protocol settings: {error}"))])?
        .with_no_client_auth()
        .with_cert_resolver(served.clone());
    // HTTP/2 is left out on purpose (docs/dependencies.md §1, actix-web).
    server.alpn_protocols = vec![b"http/1.1".to_vec()];

    let last_seen = Mutex::new(Seen::Contents(fingerprint));
    let reloader = CertificateReloader { files: RwLock::new(files), provider, served, last_seen };
    Ok((server, reloader))
}

/// The certificate that handshakes get from now on.
#[derive(Debug)]
struct Served(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Served {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().clone())
    }
}

/// Swaps the served certificate when the files have changed.
#[derive(Debug)]
pub struct CertificateReloader {
    files: RwLock<CertificateFiles>,
    provider: Arc<CryptoProvider>,
    served: Arc<Served>,
    last_seen: Mutex<Seen>,
}

/// What the last look at the files showed, so that each fault is reported once.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    /// SHA-256 of both. Contents and not times: renewals by symbolic link (certbot, Kubernetes) and
    /// two writes within one tick of the file system's clock are seen as well.
    Contents([u8; 32]),
    /// The texts of the faults.
    Unreadable(String),
}

impl CertificateReloader {
    /// `true` when new handshakes get another certificate from now on; open connections keep theirs.
    ///
    /// Reads two small files, blocking; meant to be called every minute or so.
    ///
    /// # Errors
    /// The new files cannot be used; the old certificate stays. The same faults are returned once, then
    /// `Ok(false)` until the files change again, so the caller may log every error.
    pub fn reload_if_changed(&self) -> Result<bool, Vec<TlsFault>> {
        let files = self.files.read();
        let contents = files.read();
        let seen = match &contents {
            Ok(contents) => Seen::Contents(contents.fingerprint()),
            Err(faults) => Seen::Unreadable(faults.iter().map(ToString::to_string).collect()),
        };
        if mem::replace(&mut *self.last_seen.lock(), seen.clone()) == seen {
            return Ok(false);
        }
        let renewed = files.parse(&contents?, &self.provider)?;
        Ok(self.serve(renewed))
    }

    /// Serves what `fresh` has read, and looks at its files from now on. `true` when new handshakes get another certificate.
    pub fn renew(&self, fresh: Self) -> bool {
        let Self { files, served, last_seen, .. } = fresh;
        *self.last_seen.lock() = last_seen.into_inner();
        *self.files.write() = files.into_inner();
        let renewed = Arc::clone(&served.0.read());
        self.serve(renewed)
    }

    fn serve(&self, renewed: Arc<CertifiedKey>) -> bool {
        let mut served = self.served.0.write();
        // Equal when the files were away or broken for a while and have come back as they were.
        let is_other = served.cert != renewed.cert;
        *served = renewed;
        is_other
    }

    /// When the certificate that is served ends, in seconds since 1970; none when it does not say so in a way that can
    /// be read.
    pub fn expires(&self) -> Option<i64> {
        let served = self.served.0.read().clone();
        let (_, certificate) = X509Certificate::from_der(served.cert.first()?).ok()?;
        Some(certificate.validity().not_after.timestamp())
    }
}

/// The two files.
#[derive(Debug)]
struct CertificateFiles {
    cert: PemFile,
    key: PemFile,
}

/// The PEM file that a setting names.
#[derive(Debug)]
struct PemFile {
    key: &'static str,
    path: PathBuf,
}

struct Contents {
    cert_pem: Vec<u8>,
    key_pem: Vec<u8>,
}

impl Contents {
    fn fingerprint(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        // The length in between keeps the border of the two files where it is.
        hash.update(self.cert_pem.len().to_be_bytes());
        hash.update(&self.cert_pem);
        hash.update(&self.key_pem);
        hash.finalize().into()
    }
}

impl PemFile {
    fn named(key: &'static str, path: Option<&PathBuf>) -> Result<Self, TlsFault> {
        let not_set = || TlsFault::new(key, format!("tls.enabled is true, but {key} is not set: name the PEM file"));
        path.cloned().map(|path| Self { key, path }).ok_or_else(not_set)
    }

    fn read(&self) -> Result<Vec<u8>, TlsFault> {
        config::read_bytes(&self.path)
            .map_err(|error| TlsFault::new(self.key, format!("cannot read {} {:?}: {error}", self.key, self.path)))
    }

    /// `{key} {path} {what}`
    fn fault(&self, what: &str) -> TlsFault {
        TlsFault::new(self.key, format!("{} {:?} {what}", self.key, self.path))
    }

    /// The crate prints the offending line as a list of byte values, which nobody can read.
    fn not_pem(&self, error: &pem::Error) -> TlsFault {
        let fault = match error {
            pem::Error::MissingSectionEnd { .. } => "a BEGIN line has no END line that belongs to it",
            pem::Error::IllegalSectionStart { .. } => "a BEGIN line is misspelt",
            pem::Error::Base64Decode(_) => "the text between BEGIN and END is not base64",
            pem::Error::SectionTooLarge => "a section is too large",
            _ => "it cannot be read",
        };
        self.fault(&format!("is not valid PEM: {fault}"))
    }
}

impl CertificateFiles {
    fn named_in(tls: &config::Tls) -> Result<Self, Vec<TlsFault>> {
        let cert = PemFile::named("tls.cert_file", tls.cert_file.as_ref());
        let (cert, key) = both(cert, PemFile::named("tls.key_file", tls.key_file.as_ref()))?;
        Ok(Self { cert, key })
    }

    fn read(&self) -> Result<Contents, Vec<TlsFault>> {
        let (cert_pem, key_pem) = both(self.cert.read(), self.key.read())?;
        Ok(Contents { cert_pem, key_pem })
    }

    fn parse(&self, contents: &Contents, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, Vec<TlsFault>> {
        let (chain, key) = both(self.chain(&contents.cert_pem), self.key(&contents.key_pem, provider))?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            // "Unknown": a kind of key that cannot tell its public half; none of aws-lc-rs is one.
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(Arc::new(certified)),
            Err(rustls::Error::InconsistentKeys(_)) => Err(vec![self.key.fault(&format!(
                "is not the key of the first certificate in tls.cert_file {:?}: put the server's own certificate first, \
                 or name the matching files",
                self.cert.path
            ))]),
            Err(error) => Err(vec![TlsFault::new(
                self.cert.key,
                format!(
                    "the certificate in tls.cert_file {:?} cannot be used: {error}; the server's own certificate must be \
                     the first in the file",
                    self.cert.path
                ),
            )]),
        }
    }

    fn chain(&self, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsFault> {
        let chain: Vec<_> =
            CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|error| self.cert.not_pem(&error))?;
        if chain.is_empty() {
            return Err(self.cert.fault("holds no certificate (no \"BEGIN CERTIFICATE\" block)"));
        }
        Ok(chain)
    }

    fn key(&self, pem: &[u8], provider: &CryptoProvider) -> Result<Arc<dyn SigningKey>, TlsFault> {
        let key = PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
            pem::Error::NoItemsFound => self.key.fault(
                "holds no private key that can be used without a passphrase (\"BEGIN PRIVATE KEY\", \
                 \"BEGIN RSA PRIVATE KEY\" or \"BEGIN EC PRIVATE KEY\")",
            ),
            error => self.key.not_pem(&error),
        })?;
        provider.key_provider.load_private_key(key).map_err(|error| {
            let text = format!("the private key in tls.key_file {:?} cannot be used: {error}", self.key.path);
            TlsFault::new(self.key.key, text)
        })
    }
}

/// Both, or everything that is wrong with them.
fn both<A, B>(first: Result<A, TlsFault>, second: Result<B, TlsFault>) -> Result<(A, B), Vec<TlsFault>> {
    match (first, second) {
        (Ok(first), Ok(second)) => Ok((first, second)),
        (first, second) => Err(first.err().into_iter().chain(second.err()).collect()),
    }
}

#[cfg(test)]
mod tests;
