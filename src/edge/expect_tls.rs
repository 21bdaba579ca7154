//! Who speaks plain HTTP to a port of TLS is told so: the handshake would answer with bytes that such a client cannot read.

use std::io;

use actix_web::rt::time::timeout;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{edge::counted::Counted, limits};

/// The first byte of every TLS connection: a record of the handshake (RFC 8446 §5.1).
const HANDSHAKE: u8 = 22;

const ANSWER: &str = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 62\r\nConnection: close\r\n\r\n\
                      this port speaks HTTPS: begin the URL with https:// or wss://\n";

/// The connection, if it begins as TLS does.
///
/// # Errors
/// It does not, and was answered; or nothing came in time.
pub async fn expect_tls(mut io: Counted) -> io::Result<Counted> {
    let checked = async {
        let mut first = [0];
        match io.tcp().peek(&mut first).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ if first == [HANDSHAKE] => return Ok(()),
            _ => {}
        }
        // What is not read makes the kernel reset the connection, and the answer would be lost.
        let _ = io.read(&mut [0; limits::READ_TURN]).await?;
        io.write_all(ANSWER.as_bytes()).await?;
        io.shutdown().await?;
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "plain HTTP, or another protocol, on the port of TLS (tls.port)",
        ))
    };
    timeout(limits::TLS_BEGIN, checked).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
    Ok(io)
}
