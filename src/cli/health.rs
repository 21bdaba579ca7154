//! Asks a running server whether it is well: one HTTP/1.1 GET. It is the container's HEALTHCHECK, so it
//! is quick, needs no other program and says why in one line.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream, ToSocketAddrs as _},
    time::Duration,
};

use thiserror::Error;
use url::Url;

use super::banner::reachable;
use crate::config::Config;

/// For connecting, and for each read and write.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Longer than any status line.
const STATUS_BYTES: usize = 256;

/// Why the server does not count as well.
#[derive(Debug, Error)]
pub enum HealthFault {
    #[error("--url must look like http://127.0.0.1:8080/health")]
    BadUrl,
    #[error("{key} is 0, so the port is not known here; name it with --url")]
    UnknownPort { key: &'static str },
    #[error("{address} does not resolve: {error}")]
    Unresolved { address: String, error: io::Error },
    #[error("no answer from {address}: {error}")]
    Silent { address: SocketAddr, error: io::Error },
    #[error("{address} answered {status:?}")]
    Unwell { address: SocketAddr, status: String },
}

/// That the server is well, and where it was asked.
///
/// # Errors
/// When it cannot be reached or answers anything but 200.
pub fn ask(config: &Config, url: Option<&str>) -> Result<String, HealthFault> {
    let url = match url {
        Some(url) => Url::parse(url).map_err(|_| HealthFault::BadUrl)?,
        None => {
            // There is always one; a profile has its own.
            let listener = config.listeners().swap_remove(0);
            if listener.port == 0 {
                return Err(HealthFault::UnknownPort { key: listener.key });
            }
            let address = SocketAddr::new(reachable(config.server.host), listener.port);
            Url::parse(&format!("http://{address}/health")).map_err(|_| HealthFault::BadUrl)?
        }
    };
    let (Some(host), "http") = (url.host_str(), url.scheme()) else {
        return Err(HealthFault::BadUrl);
    };
    let authority = format!("{host}:{}", url.port_or_known_default().unwrap_or(80));
    let unresolved = |error| HealthFault::Unresolved { address: authority.clone(), error };
    let addresses = authority.to_socket_addrs().map_err(unresolved)?;
    let mut fault = unresolved(io::ErrorKind::NotFound.into());
    // A name such as localhost may mean ::1 and 127.0.0.1, and the server listens on one of them.
    for address in addresses {
        match get(address, &authority, url.path()) {
            Ok(status) if status.split_ascii_whitespace().nth(1) == Some("200") => {
                return Ok(format!("{url}: healthy"));
            }
            Ok(status) => return Err(HealthFault::Unwell { address, status }),
            Err(error) => fault = HealthFault::Silent { address, error },
        }
    }
    Err(fault)
}

/// Sends the request and reads no further than the status line.
fn get(address: SocketAddr, authority: &str, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut head = Vec::new();
    let mut byte = [0];
    while head.len() < STATUS_BYTES && stream.read(&mut byte)? == 1 {
        if byte == *b"\n" {
            break;
        }
        head.extend(byte);
    }
    Ok(String::from_utf8_lossy(&head).trim_end().to_owned())
}
