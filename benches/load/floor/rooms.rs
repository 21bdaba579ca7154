//! The floor's rooms: the upgrade, joining, and the one thing it is for: one frame, copied to every other member. It finds the
//! fields of a text by searching for their names, which is right for the texts of this tool and for no others.

use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::{Fault, Floor};
use crate::wire;

impl Floor {
    pub(super) fn upgrade(&mut self, id: usize, bytes: &[u8]) -> Option<usize> {
        let head = bytes.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
        let key = between(bytes, b"Sec-WebSocket-Key: ", b'\r')?;
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n\r\n",
            derive_accept_key(key)
        );
        self.peers.get_mut(id)?.upgraded = true;
        self.send(id, answer.as_bytes());
        Some(head)
    }

    pub(super) fn subscribe(&mut self, id: usize, text: &[u8]) {
        let Some(name) = between(text, b"\"channel\":\"", b'"') else {
            return;
        };
        let room = match self.names.get(name) {
            Some(&room) => room,
            None => {
                self.rooms.push(Vec::new());
                self.names.insert(name.to_vec(), self.rooms.len() - 1);
                self.rooms.len() - 1
            }
        };
        let (Some(peer), Some(members)) = (self.peers.get_mut(id), self.rooms.get_mut(room)) else {
            return;
        };
        if peer.room.is_none() {
            peer.room = Some(room);
            peer.place = members.len();
            members.push(id);
        }
        let (name, event) = (String::from_utf8_lossy(name), wire::EVENT);
        let answer = format!(
            r#"{{"type":"subscribed","channel":"{name}","event":"{event}","data":{{"event":"{event}","room":"{name}","status":"subscribed"}},"timestamp":{}}}"#,
            self.now_ms
        );
        let mut frame = Vec::with_capacity(answer.len() + 4);
        wire::put_server_frame(&mut frame, wire::TEXT, answer.as_bytes());
        self.send(id, &frame);
    }

    pub(super) fn publish(&mut self, id: usize, text: &[u8]) {
        let (Some(name), Some(data)) =
            (between(text, b"\"channel\":\"", b'"'), text.windows(7).position(|w| w == b"\"data\":"))
        else {
            return;
        };
        let data = text.get(data + 7..text.len() - 1).unwrap_or_default();
        let Some(&room) = self.names.get(name) else {
            return;
        };
        let mut body = Vec::with_capacity(text.len() + 40);
        body.extend_from_slice(b"{\"type\":\"message\",\"channel\":\"");
        body.extend_from_slice(name);
        body.extend_from_slice(b"\",\"event\":\"");
        body.extend_from_slice(wire::EVENT.as_bytes());
        body.extend_from_slice(b"\",\"data\":");
        body.extend_from_slice(data);
        body.extend_from_slice(format!(",\"timestamp\":{}}}", self.now_ms).as_bytes());
        let mut frame = Vec::with_capacity(body.len() + 4);
        wire::put_server_frame(&mut frame, wire::TEXT, &body);
        let members = self.rooms.get_mut(room).map(std::mem::take).unwrap_or_default();
        let mut cut = Vec::new();
        let spared = self.spoil(id, &members, &frame);
        for &member in &members {
            if member != id && spared != Some(member) && !self.send(member, &frame) {
                cut.push(member);
            }
        }
        if let Some(place) = self.rooms.get_mut(room) {
            *place = members;
        }
        for member in cut {
            self.leave(member);
        }
    }

    /// Does its wrong to the last reader of the room; that one needs no further delivery.
    fn spoil(&mut self, id: usize, members: &[usize], frame: &[u8]) -> Option<usize> {
        let fault = self.fault?;
        let reader = *members.iter().rev().find(|&&member| member != id)?;
        self.published += 1;
        if let Some((reader, late)) = self.held.take() {
            self.send(reader, frame);
            self.send(reader, &late);
            return Some(reader);
        }
        if !self.published.is_multiple_of(100) {
            return None;
        }
        match fault {
            Fault::Lose => {}
            Fault::Double => {
                self.send(reader, frame);
                self.send(reader, frame);
            }
            Fault::Swap => self.held = Some((reader, frame.to_vec())),
            Fault::Damage => {
                let mut frame = frame.to_vec();
                if let Some(byte) = frame.iter_mut().rev().nth(40) {
                    *byte ^= 1;
                }
                self.send(reader, &frame);
            }
        }
        Some(reader)
    }
}

/// What stands between `start` and the next `end`.
fn between<'a>(text: &'a [u8], start: &[u8], end: u8) -> Option<&'a [u8]> {
    let from = text.windows(start.len()).position(|w| w == start)? + start.len();
    let rest = text.get(from..)?;
    rest.get(..rest.iter().position(|&b| b == end)?)
}
