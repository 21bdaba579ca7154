//! Which of two events of one member is the newer one: what the server goes by is what its clients go by (RTP2b,
//! `docs/protocols/ably.md §7.2`).

use crate::ids::ConnectionId;

/// Where an event stands among all events of its connection: by its frame, then by its index in the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventPosition {
    msg_serial: u64,
    index: u64,
}

impl EventPosition {
    /// Of the id `<connectionId>:<msgSerial>:<index>`. None: the id is another's or of the server's making, so that
    /// only the time of the event says how new it is.
    pub fn of(connection: ConnectionId, id: &str) -> Option<Self> {
        let own = connection.to_string();
        let numbers = id.strip_prefix(&*own)?.strip_prefix(':')?;
        let (msg_serial, index) = numbers.split_once(':')?;
        Some(Self { msg_serial: number(msg_serial)?, index: number(index)? })
    }
}

/// Digits and nothing else: the standard parser also takes a sign.
fn number(text: &str) -> Option<u64> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_compared_by_number_and_only_own_ones() {
        let connection = ConnectionId::from_bytes([1; 9]);
        let place = |numbers: &str| EventPosition::of(connection, &format!("{connection}:{numbers}"));
        assert!(place("10:0") > place("9:5"));
        assert!(place("9:10") > place("9:9"));
        assert_eq!(place("7:1"), place("7:1"));
        for other in ["7", "7:", ":1", "7:1:2", "+7:1", "7:-1", "7:99999999999999999999"] {
            assert_eq!(place(other), None, "{other}");
        }
        assert_eq!(EventPosition::of(connection, "other:7:1"), None);
        let longer = format!("{connection}x:7:1");
        assert_eq!(EventPosition::of(connection, &longer), None);
    }
}
