//! The floor: the least that any server could do for the same clients. One thread, one epoll, no protocol:
//! it answers the upgrade, takes a `subscribe` as joining a room, copies the `data` of a `publish` into one server frame, and
//! writes that to the room's other members. It checks nothing. Batched: everything readable is read first, then each
//! socket gets one write. Unbatched: each delivery is written at once.
//!
//! It keeps what a real server cannot leave out: partial writes wait for the socket, what waits is bounded, closed sockets leave.

mod rooms;

use std::{
    collections::HashMap,
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use nix::sys::{
    epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
    socket::{Backlog, listen},
};
use slab::Slab;

use crate::wire;

const LISTENER: u64 = u64::MAX;
/// Bytes that may wait for one socket before it is cut.
const OUTBOX_BYTES: usize = 1 << 20;

struct Peer {
    stream: TcpStream,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    room: Option<usize>,
    /// Index in the member list of the room.
    place: usize,
    upgraded: bool,
    dirty: bool,
    /// The socket was full: epoll tells when it is not.
    blocked: bool,
}

/// Deliberate wrongs, each done to every hundredth message, that prove that the tool sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Fault {
    Lose,
    Double,
    Swap,
    Damage,
}

struct Floor {
    epoll: Epoll,
    peers: Slab<Peer>,
    names: HashMap<Vec<u8>, usize>,
    rooms: Vec<Vec<usize>>,
    dirty: Vec<usize>,
    batched: bool,
    fault: Option<Fault>,
    published: u64,
    /// A frame and its reader, held back to swap it with the next.
    held: Option<(usize, Vec<u8>)>,
    now_ms: u64,
}

/// Serves on loopback until the process is killed.
pub fn run(port: u16, batched: bool, fault: Option<Fault>) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).context("binding the floor")?;
    // The standard library asks for 128, which a storm of clients overruns.
    listen(&listener, Backlog::new(4096)?)?;
    listener.set_nonblocking(true)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
    let mut floor = Floor {
        epoll,
        peers: Slab::new(),
        names: HashMap::new(),
        rooms: Vec::new(),
        dirty: Vec::new(),
        batched,
        fault,
        published: 0,
        held: None,
        now_ms: 0,
    };
    let mut events = vec![EpollEvent::empty(); 1024];
    let mut scratch = vec![0; 256 << 10];
    loop {
        let ready = match floor.epoll.wait(&mut events, EpollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => continue,
            other => other?,
        };
        floor.now_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis().try_into()?;
        for event in events.iter().take(ready) {
            if event.data() == LISTENER {
                floor.accept(&listener)?;
                continue;
            }
            let id = event.data() as usize;
            if event.events().contains(EpollFlags::EPOLLOUT) {
                floor.flush(id);
            }
            if event.events() != EpollFlags::EPOLLOUT {
                floor.read(id, &mut scratch);
            }
        }
        let mut dirty = std::mem::take(&mut floor.dirty);
        for id in dirty.drain(..) {
            floor.flush(id);
        }
        floor.dirty = dirty;
    }
}

impl Floor {
    fn accept(&mut self, listener: &TcpListener) -> Result<()> {
        loop {
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("accepting"),
            };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let entry = self.peers.vacant_entry();
            let event = EpollEvent::new(EpollFlags::EPOLLIN, entry.key() as u64);
            self.epoll.add(&stream, event)?;
            entry.insert(Peer {
                stream,
                inbox: Vec::new(),
                outbox: Vec::new(),
                room: None,
                place: 0,
                upgraded: false,
                dirty: false,
                blocked: false,
            });
        }
    }

    fn read(&mut self, id: usize, scratch: &mut [u8]) {
        loop {
            let Some(peer) = self.peers.get_mut(id) else {
                return;
            };
            let count = match peer.stream.read(scratch) {
                Ok(count) if count > 0 => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                _ => return self.leave(id),
            };
            let mut kept = std::mem::take(&mut peer.inbox);
            let whole = if kept.is_empty() {
                scratch.get_mut(..count)
            } else {
                kept.extend_from_slice(scratch.get(..count).unwrap_or_default());
                Some(kept.as_mut_slice())
            };
            let whole = whole.unwrap_or_default();
            let used = self.take_in(id, whole);
            if used < whole.len()
                && let Some(peer) = self.peers.get_mut(id)
            {
                peer.inbox = whole.get(used..).unwrap_or_default().to_vec();
            }
            if count < scratch.len() {
                return;
            }
        }
    }

    /// Handles all whole frames of `bytes`, says how many bytes they were.
    fn take_in(&mut self, id: usize, bytes: &mut [u8]) -> usize {
        let mut used = 0;
        if self.peers.get(id).is_some_and(|peer| !peer.upgraded) {
            match self.upgrade(id, bytes) {
                Some(head) => used = head,
                None => return 0,
            }
        }
        while let Some(rest) = bytes.get_mut(used..)
            && let Some(frame) = wire::first_frame(rest)
        {
            used += frame.payload.end;
            let Some(payload) = rest.get_mut(frame.payload) else {
                break;
            };
            wire::unmask(payload, frame.mask.unwrap_or_default());
            match frame.opcode {
                wire::TEXT if payload.starts_with(b"{\"type\":\"publish\"") => self.publish(id, payload),
                wire::TEXT => self.subscribe(id, payload),
                wire::CLOSE => self.leave(id),
                _ => {}
            }
        }
        used
    }

    /// Queues `bytes`; false when the peer has to be cut.
    fn send(&mut self, id: usize, bytes: &[u8]) -> bool {
        let Some(peer) = self.peers.get_mut(id) else {
            return true;
        };
        if peer.outbox.len() + bytes.len() > OUTBOX_BYTES {
            return false;
        }
        peer.outbox.extend_from_slice(bytes);
        if peer.blocked {
            return true;
        }
        if !self.batched {
            return self.write_out(id);
        }
        if !peer.dirty {
            peer.dirty = true;
            self.dirty.push(id);
        }
        true
    }

    fn flush(&mut self, id: usize) {
        if !self.write_out(id) {
            self.leave(id);
        }
    }

    /// One write of all that waits; false when the socket is broken.
    fn write_out(&mut self, id: usize) -> bool {
        let Some(peer) = self.peers.get_mut(id) else {
            return true;
        };
        peer.dirty = false;
        if peer.outbox.is_empty() && !peer.blocked {
            return true;
        }
        match peer.stream.write(&peer.outbox) {
            Ok(count) if count == peer.outbox.len() => peer.outbox.clear(),
            Ok(count) => drop(peer.outbox.drain(..count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return false,
        }
        if peer.outbox.is_empty() && peer.outbox.capacity() > 64 << 10 {
            // A burst must not cost memory for ever.
            peer.outbox = Vec::new();
        }
        let blocked = !peer.outbox.is_empty();
        if blocked != peer.blocked {
            peer.blocked = blocked;
            let mut flags = EpollFlags::EPOLLIN;
            flags.set(EpollFlags::EPOLLOUT, blocked);
            let mut event = EpollEvent::new(flags, id as u64);
            return self.epoll.modify(&peer.stream, &mut event).is_ok();
        }
        true
    }

    fn leave(&mut self, id: usize) {
        // Dropping the stream closes it and takes it out of epoll.
        let Some(peer) = self.peers.try_remove(id) else {
            return;
        };
        let Some(members) = peer.room.and_then(|room| self.rooms.get_mut(room)) else {
            return;
        };
        members.swap_remove(peer.place);
        if let Some(moved) = members.get(peer.place).and_then(|&id| self.peers.get_mut(id)) {
            moved.place = peer.place;
        }
    }
}
