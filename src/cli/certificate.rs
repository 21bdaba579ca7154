//! `certificate self-signed`: a key and a certificate for trying TLS out (`docs/protocols/postoffice.md §1`: none is shipped, one
//! is made on request only).

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, date_time_ymd};

use crate::clock::Clock;

/// Clients whose clock is a little behind take it, too.
const BEFORE: Duration = Duration::from_secs(24 * 3_600);
/// Names beside the folder, as the older server has them in its samples.
const CERTIFICATE: &str = "cert.pem";
const KEY: &str = "key.pem";

#[derive(Subcommand)]
pub enum Command {
    /// Make a key and a certificate that it signs itself, for tls.cert_file and tls.key_file. Clients have to be told to
    /// trust it.
    SelfSigned(SelfSigned),
}

#[derive(Args)]
pub struct SelfSigned {
    /// The folder for cert.pem and key.pem, made when absent. Nothing is overwritten.
    #[arg(long, default_value = "cert")]
    dir: PathBuf,
    /// A host name or an IP address that clients connect to (repeat for more).
    #[arg(long = "name", default_values = ["localhost", "127.0.0.1", "::1"])]
    names: Vec<String>,
    /// How long it is valid. Some clients take none that is valid for more than 825 days.
    #[arg(long, default_value_t = 397, value_parser = clap::value_parser!(u32).range(1..=3_650))]
    days: u32,
}

/// Writes both files; what to tell the operator.
/// Error: when a name is none, or a file is there already or cannot be written.
pub fn run(command: &Command, clock: &Clock) -> anyhow::Result<String> {
    let Command::SelfSigned(asked) = command;
    let (certificate, key) = (asked.dir.join(CERTIFICATE), asked.dir.join(KEY));
    for file in [&certificate, &key] {
        if file.exists() {
            bail!("{} is there already; remove it, or name another --dir", file.display());
        }
    }
    let pair = KeyPair::generate().context("no key could be made")?;
    let names = asked.names.join(", ");
    let signed = asked
        .params(clock)
        .with_context(|| format!("--name {names}: not all of them are names or addresses"))?
        .self_signed(&pair)
        .context("the certificate could not be signed")?;
    fs::create_dir_all(&asked.dir).with_context(|| format!("cannot make the folder {}", asked.dir.display()))?;
    write(&certificate, &signed.pem(), 0o644)?;
    write(&key, &pair.serialize_pem(), 0o600)?;
    Ok(format!(
        "a key and a self-signed certificate for {names}, valid for {} days; serve them with\n  \
         tls:\n    enabled: true\n    cert_file: {}\n    key_file: {}",
        asked.days,
        certificate.display(),
        key.display()
    ))
}

impl SelfSigned {
    fn params(&self, clock: &Clock) -> Result<CertificateParams, rcgen::Error> {
        let mut params = CertificateParams::new(self.names.clone())?;
        let now = date_time_ymd(1970, 1, 1) + Duration::from_millis(clock.now().millis());
        params.not_before = now - BEFORE;
        params.not_after = now + Duration::from_secs(u64::from(self.days) * 24 * 3_600);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let name = self.names.first().map_or("localhost", String::as_str);
        params.distinguished_name.push(DnType::CommonName, name);
        Ok(params)
    }
}

fn write(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(mode);
    options
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use std::os::unix::fs::PermissionsExt as _;

    use tempfile::TempDir;

    use super::*;
    use crate::{config, edge::tls, ids::Timestamp};

    fn asked(dir: &Path, names: &[&str]) -> Command {
        Command::SelfSigned(SelfSigned {
            dir: dir.to_owned(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            days: 30,
        })
    }

    fn clock() -> Clock {
        Clock::manual(Timestamp::from_millis(1_760_000_000_000))
    }

    #[test]
    fn the_server_takes_what_was_made() {
        let folder = TempDir::new().unwrap();
        let dir = folder.path().join("cert");
        let said = run(&asked(&dir, &["localhost", "::1"]), &clock()).unwrap();
        assert!(said.contains("cert_file: "), "{said}");
        let (cert, key) = (dir.join(CERTIFICATE), dir.join(KEY));
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        let settings = config::Tls { enabled: true, port: 0, cert_file: Some(cert), key_file: Some(key) };
        tls::server_config(&settings).unwrap();
    }

    #[test]
    fn nothing_is_overwritten() {
        let folder = TempDir::new().unwrap();
        let dir = folder.path();
        fs::write(dir.join(KEY), "precious").unwrap();
        let fault = run(&asked(dir, &["localhost"]), &clock()).unwrap_err();
        assert!(fault.to_string().contains("there already"), "{fault}");
        assert_eq!(fs::read_to_string(dir.join(KEY)).unwrap(), "precious");
        assert!(!dir.join(CERTIFICATE).exists());
    }

    #[test]
    fn a_bad_name_is_told() {
        let folder = TempDir::new().unwrap();
        let fault = run(&asked(folder.path(), &["größe"]), &clock()).unwrap_err();
        assert!(fault.to_string().contains("größe"), "{fault}");
        assert!(!folder.path().join(KEY).exists());
    }
}
