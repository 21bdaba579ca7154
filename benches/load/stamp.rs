//! What the tool writes into the `data` of each message to know it again: who published it, the
//! how-manieth it is, and when it left.

/// `rrrr.pppp.ssssssss.tttttttttttttttt`, all hexadecimal.
const LENGTH: usize = 4 + 1 + 4 + 1 + 8 + 1 + 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub room: u16,
    /// Index among the publishers of the room.
    pub publisher: u16,
    /// From 0, per publisher.
    pub serial: u32,
    /// Nanoseconds on the tool's own clock.
    pub sent: u64,
}

/// Writes and recognises `data` objects of one fixed size.
pub struct Envelope {
    /// What follows the stamp in each message, up to and with the end of `data`.
    tail: String,
    /// What stands before the stamp, and what after it, as receivers get it.
    mark: Vec<u8>,
    after: Vec<u8>,
}

impl Envelope {
    /// `data_bytes`: length of each `data` object, as far as the stamp leaves room. Receivers get it as it was sent, or
    /// `escaped`, as the text of a JSON string; then comes `next`.
    pub fn new(data_bytes: usize, escaped: bool, next: &[u8]) -> Self {
        let bare = r#"{"from":"u00000","bench":"","message":""}"#.len() + LENGTH;
        let filler = "x".repeat(data_bytes.saturating_sub(bare));
        let tail = format!(r#"","message":"{filler}"}}"#);
        let received = |text: &str| match escaped {
            true => text.replace('"', "\\\"").into_bytes(),
            false => text.as_bytes().to_vec(),
        };
        Self { mark: received(r#""bench":""#), after: [&received(&tail), next].concat(), tail }
    }

    pub fn data(&self, user: &str, stamp: Stamp) -> String {
        let Stamp { room, publisher, serial, sent } = stamp;
        let tail = &self.tail;
        format!(r#"{{"from":"{user}","bench":"{room:04x}.{publisher:04x}.{serial:08x}.{sent:016x}{tail}"#)
    }

    /// Finds the stamp of a received message and checks that `data` came through unchanged. `hint` is where the last one
    /// stood: all messages of a server look alike, so the search hardly ever runs.
    pub fn read(&self, text: &[u8], hint: &mut usize) -> Option<Stamp> {
        let mark = &*self.mark;
        if !text.get(*hint..)?.starts_with(mark) {
            *hint = text.windows(mark.len()).position(|w| w == mark)?;
        }
        let start = *hint + mark.len();
        let stamp = text.get(start..start + LENGTH)?;
        if !text.get(start + LENGTH..)?.starts_with(&self.after) {
            return None;
        }
        Some(Stamp {
            room: hex(stamp.get(0..4)?)? as u16,
            publisher: hex(stamp.get(5..9)?)? as u16,
            serial: hex(stamp.get(10..18)?)? as u32,
            sent: hex(stamp.get(19..35)?)?,
        })
    }
}

fn hex(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |value, &digit| Some(value << 4 | u64::from(char::from(digit).to_digit(16)?)))
}
