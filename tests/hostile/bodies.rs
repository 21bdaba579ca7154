//! Requests that begin and do not end (docs/architecture.md §6a).

use std::net::SocketAddr;

use futures_util::future::join_all;
use tokio::{io::AsyncWriteExt as _, net::TcpSocket};

use super::{MIB, besiege};
use crate::support::{
    process::ServerProcess,
    raw::{Raw, get},
};

const SOCKETS: usize = 400;
const BODY: usize = 261_000;

/// A connection from an address of this machine that is not the good clients'.
async fn connect(server: SocketAddr) -> Raw {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.2:0".parse().expect("an address")).expect("this machine has all of 127.0.0.0/8");
    Raw::from_stream(socket.connect(server).await.expect("the server accepts"))
}

/// findings B3: bodies that stop before their end, without credentials: the network of whoever sends them has so many
/// connections and so many bytes, and each is ended. Operators are answered, and everything is given back.
#[tokio::test]
async fn bodies_that_stop_are_bounded_and_ended() {
    let server = ServerProcess::start(&[
        ("LIMITS_EXEMPT_LOOPBACK", "false"),
        ("LIMITS_MEMORY", "1073741824"),
        ("LIMITS_CONNECTS_PER_SECOND", "0"),
    ]);
    let head = "POST /api/pro/activate HTTP/1.1\r\nHost: x\r\nContent-Length: 262000\r\n\r\n";
    let request = [head.as_bytes(), &[b' '; BODY]].concat();
    let attacker = async |_| {
        let Raw { mut reader, mut writer } = connect(server.address).await;
        // The server may end it before all is written.
        let _ = writer.write_all(&request).await;
        reader.rest().await
    };
    let attack = async {
        let answers = join_all((0..SOCKETS).map(attacker));
        let health = async {
            let answer = get(server.address, "/health", "").await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        };
        tokio::join!(answers, health).0
    };
    // 400 bodies would be 104 MiB; the buffers of the parser take up to 96 KiB of each connection.
    let answers = besiege(&server, 80 * MIB, attack).await;
    let refused = answers.iter().filter(|answer| answer.contains("request_body; limits.memory")).count();
    assert!(refused > 0, "nobody had too many bytes");
    assert_eq!(server.metrics().await["kept"]["request_body"], 0);
}
