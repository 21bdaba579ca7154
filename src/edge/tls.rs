//! TLS: the rustls configuration from two PEM files, and their replacement while the server runs.
//!
//! Go's silent way back to plain HTTP when a file is missing is not taken: every fault here refuses
//! the start (docs/protocols/letshare.md §4 "TLS"). Not here: the listener, and the timer that calls
//! [`CertificateReloader::reload_if_changed`]; `app` has both.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

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

const CERT_FILE: &str = "tls.cert_file";
const KEY_FILE: &str = "tls.key_file";

/// What is wrong with the certificate or its key. Each text names the file and the way out.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("tls.enabled is true, but {key} is not set: name the PEM file")]
    NotSet { key: &'static str },
    #[error("cannot read {key} {path:?}: {source}", path = path.display())]
    Unreadable { key: &'static str, path: PathBuf, source: io::Error },
    #[error("{key} {path:?} is not valid PEM: {fault}", path = path.display())]
    NotPem { key: &'static str, path: PathBuf, fault: &'static str },
    #[error("tls.cert_file {path:?} holds no certificate (no \"BEGIN CERTIFICATE\" block)", path = path.display())]
    NoCertificate { path: PathBuf },
    #[error(
        "tls.key_file {path:?} holds no private key that can be used without a passphrase \
         (\"BEGIN PRIVATE KEY\", \"BEGIN RSA PRIVATE KEY\" or \"BEGIN EC PRIVATE KEY\")",
        path = path.display()
    )]
    NoKey { path: PathBuf },
    #[error("the private key in tls.key_file {key_file:?} cannot be used: {source}", key_file = key_file.display())]
    BadKey { key_file: PathBuf, source: rustls::Error },
    #[error(
        "the certificate in tls.cert_file {cert_file:?} cannot be used: {source}; the server's own \
         certificate must be the first in the file",
        cert_file = cert_file.display()
    )]
    BadCertificate { cert_file: PathBuf, source: rustls::Error },
    #[error(
        "tls.key_file {key_file:?} is not the key of the first certificate in tls.cert_file \
         {cert_file:?}: put the server's own certificate first, or name the matching files",
        key_file = key_file.display(), cert_file = cert_file.display()
    )]
    Mismatch { cert_file: PathBuf, key_file: PathBuf },
    #[error("rustls refused the protocol settings: {0}")]
    Settings(#[source] rustls::Error),
}

/// The server side of TLS 1.2 and 1.3 with HTTP/1.1 on top, and what keeps its certificate fresh.
///
/// Reads the files at once.
///
/// # Errors
/// Every [`TlsError`] of the two files; the caller refuses the start.
pub fn server_config(tls: &config::Tls) -> Result<(ServerConfig, CertificateReloader), Vec<TlsError>> {
    let one = |fault| vec![fault];
    let provider = Arc::new(aws_lc_rs::default_provider());
    let files = CertificateFiles::named_in(tls)?;
    let contents = files.read()?;
    let fingerprint = contents.fingerprint();
    let served = Arc::new(Served(RwLock::new(files.parse(&contents, &provider)?)));

    let mut server = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|source| one(TlsError::Settings(source)))?
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

/// What the last look at the files showed, so that one fault is told once.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// SHA-256 of both. Contents and not times: renewals by symbolic link (certbot, Kubernetes) and
    /// two writes within one tick of the file system's clock are seen as well.
    Contents([u8; 32]),
    /// The text of the fault.
    Unreadable(String),
}

impl CertificateReloader {
    /// `true` when new handshakes get another certificate from now on; open connections keep theirs.
    ///
    /// Reads two small files, blocking; meant to be called every minute or so.
    ///
    /// # Errors
    /// The new files cannot be used; the old certificate stays. The same fault is returned once,
    /// then `Ok(false)` until the files change again, so the caller may log every error.
    pub fn reload_if_changed(&self) -> Result<bool, TlsError> {
        let files = self.files.read();
        let contents = match files.read() {
            Ok(contents) => contents,
            Err(faults) => {
                let error = first(faults);
                let is_news = self.is_news(Seen::Unreadable(error.to_string()));
                return if is_news { Err(error) } else { Ok(false) };
            }
        };
        if !self.is_news(Seen::Contents(contents.fingerprint())) {
            return Ok(false);
        }
        let renewed = files.parse(&contents, &self.provider).map_err(first)?;
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

    fn is_news(&self, seen: Seen) -> bool {
        let mut last_seen = self.last_seen.lock();
        let is_news = *last_seen != seen;
        *last_seen = seen;
        is_news
    }
}

/// Where the two files are.
#[derive(Debug)]
struct CertificateFiles {
    cert_file: PathBuf,
    key_file: PathBuf,
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

impl CertificateFiles {
    fn named_in(tls: &config::Tls) -> Result<Self, Vec<TlsError>> {
        let named = |file: &Option<PathBuf>, key| file.clone().ok_or(TlsError::NotSet { key });
        let (cert_file, key_file) = both(named(&tls.cert_file, CERT_FILE), named(&tls.key_file, KEY_FILE))?;
        Ok(Self { cert_file, key_file })
    }

    fn read(&self) -> Result<Contents, Vec<TlsError>> {
        let read = |path: &Path, key| {
            config::read_bytes(path).map_err(|source| TlsError::Unreadable { key, path: path.to_owned(), source })
        };
        let (cert_pem, key_pem) = both(read(&self.cert_file, CERT_FILE), read(&self.key_file, KEY_FILE))?;
        Ok(Contents { cert_pem, key_pem })
    }

    fn parse(&self, contents: &Contents, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, Vec<TlsError>> {
        let (chain, key) = both(self.chain(&contents.cert_pem), self.key(&contents.key_pem, provider))?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            // "Unknown": a kind of key that cannot tell its public half; none of aws-lc-rs is one.
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(Arc::new(certified)),
            Err(rustls::Error::InconsistentKeys(_)) => {
                Err(vec![TlsError::Mismatch { cert_file: self.cert_file.clone(), key_file: self.key_file.clone() }])
            }
            Err(source) => Err(vec![TlsError::BadCertificate { cert_file: self.cert_file.clone(), source }]),
        }
    }

    fn chain(&self, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let path = || self.cert_file.clone();
        let chain = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
        let chain =
            chain.map_err(|error| TlsError::NotPem { key: CERT_FILE, path: path(), fault: fault_of(&error) })?;
        if chain.is_empty() { Err(TlsError::NoCertificate { path: path() }) } else { Ok(chain) }
    }

    fn key(&self, pem: &[u8], provider: &CryptoProvider) -> Result<Arc<dyn SigningKey>, TlsError> {
        let path = || self.key_file.clone();
        let key = PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
            pem::Error::NoItemsFound => TlsError::NoKey { path: path() },
            error => TlsError::NotPem { key: KEY_FILE, path: path(), fault: fault_of(&error) },
        })?;
        let loaded = provider.key_provider.load_private_key(key);
        loaded.map_err(|source| TlsError::BadKey { key_file: path(), source })
    }
}

/// Both, or everything that is wrong with them.
fn both<A, B>(first: Result<A, TlsError>, second: Result<B, TlsError>) -> Result<(A, B), Vec<TlsError>> {
    match (first, second) {
        (Ok(first), Ok(second)) => Ok((first, second)),
        (first, second) => Err(first.err().into_iter().chain(second.err()).collect()),
    }
}

/// Of a list that is never empty.
fn first(faults: Vec<TlsError>) -> TlsError {
    let none = TlsError::Settings(rustls::Error::General("no fault".into()));
    faults.into_iter().next().unwrap_or(none)
}

impl TlsError {
    /// The setting that it is about.
    pub const fn key(&self) -> &'static str {
        match self {
            Self::NotSet { key } | Self::Unreadable { key, .. } | Self::NotPem { key, .. } => key,
            Self::NoCertificate { .. } | Self::BadCertificate { .. } => CERT_FILE,
            Self::NoKey { .. } | Self::BadKey { .. } | Self::Mismatch { .. } => KEY_FILE,
            Self::Settings(_) => "tls.enabled",
        }
    }
}

/// The crate prints the offending line as a list of byte values, which nobody can read.
fn fault_of(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a BEGIN line has no END line that belongs to it",
        pem::Error::IllegalSectionStart { .. } => "a BEGIN line is misspelt",
        pem::Error::Base64Decode(_) => "the text between BEGIN and END is not base64",
        pem::Error::SectionTooLarge => "a section is too large",
        _ => "it cannot be read",
    }
}

#[cfg(test)]
mod tests;
