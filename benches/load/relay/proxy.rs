//! The least that a relay could do: a TCP proxy that copies bytes between the two sockets of a pair, two threads each, and
//! looks at none of them. Only joining is played, so that the clients need not know whom they speak with.

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    thread,
};

use anyhow::{Context, Result, ensure};

use crate::wire;

const BUFFER_BYTES: usize = 64 << 10;

/// Serves on loopback until the process is killed.
pub fn run(port: u16) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).context("binding the proxy")?;
    let mut alone: HashMap<String, TcpStream> = HashMap::new();
    for stream in listener.incoming() {
        let stream = stream.context("accepting")?;
        // Whoever only looks whether the port is open says nothing.
        let Ok(number) = welcome(&stream) else {
            continue;
        };
        match alone.remove(&number) {
            None => drop(alone.insert(number, stream)),
            Some(other) => pair(stream, other)?,
        }
    }
    Ok(())
}

/// Answers the upgrade and the `subscribe` that follows; the number of the pair, from the user's name.
fn welcome(mut stream: &TcpStream) -> Result<String> {
    stream.set_nodelay(true)?;
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    let head = loop {
        let count = stream.read(&mut buffer)?;
        ensure!(count > 0, "said nothing");
        bytes.extend_from_slice(buffer.get(..count).unwrap_or_default());
        let end = bytes.windows(4).position(|end| end == b"\r\n\r\n");
        if let Some(end) = end
            && wire::first_frame(bytes.get(end + 4..).unwrap_or_default()).is_some()
        {
            break String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned();
        }
    };
    let user = head.split_once("userId=").context("no userId")?.1;
    let user = user.split_once(' ').context("no end of the userId")?.0;
    let mut answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        wire::UPGRADE_ACCEPT
    )
    .into_bytes();
    wire::put_server_frame(&mut answer, wire::TEXT, br#"{"type":"subscribed"}"#);
    stream.write_all(&answer)?;
    Ok(user.get(1..).unwrap_or_default().to_owned())
}

fn pair(one: TcpStream, other: TcpStream) -> Result<()> {
    let (one_too, other_too) = (one.try_clone()?, other.try_clone()?);
    thread::spawn(move || copy(one, other));
    thread::spawn(move || copy(other_too, one_too));
    Ok(())
}

/// Until one of them ends.
fn copy(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = vec![0; BUFFER_BYTES];
    while let Ok(count) = from.read(&mut buffer)
        && count > 0
        && let Some(bytes) = buffer.get(..count)
        && to.write_all(bytes).is_ok()
    {}
    // The other side need not learn why.
    let _ = to.shutdown(Shutdown::Write);
}
