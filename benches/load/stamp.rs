//! What the tool writes into the `data` of each message to know it again: who published it, the
//! how-manieth it is, and when it left.

/// Begins the stamp inside `data`.
const MARK: &[u8] = b"\"bench\":\"";
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
pub struct Stationery {
    /// What follows the stamp in each message, up to and with the end of `data`.
    tail: String,
}

impl Stationery {
    /// `data_bytes`: length of each `data` object, as far as the stamp leaves room.
    pub fn new(data_bytes: usize) -> Self {
        let bare = r#"{"from":"u00000","bench":"","message":""}"#.len() + LENGTH;
        let filler = "x".repeat(data_bytes.saturating_sub(bare));
        Self {
            tail: format!(r#"","message":"{filler}"}}"#),
        }
    }

    pub fn data(&self, user: &str, stamp: Stamp) -> String {
        let Stamp {
            room,
            publisher,
            serial,
            sent,
        } = stamp;
        let tail = &self.tail;
        format!(
            r#"{{"from":"{user}","bench":"{room:04x}.{publisher:04x}.{serial:08x}.{sent:016x}{tail}"#
        )
    }

    /// Finds the stamp of a received message and checks that `data` came through unchanged. `hint` is where the last one
    /// stood: all messages of a server look alike, so the search hardly ever runs.
    pub fn read(&self, text: &[u8], hint: &mut usize) -> Option<Stamp> {
        if !text.get(*hint..)?.starts_with(MARK) {
            *hint = text.windows(MARK.len()).position(|w| w == MARK)?;
        }
        let start = *hint + MARK.len();
        let stamp = text.get(start..start + LENGTH)?;
        let after = text
            .get(start + LENGTH..)?
            .strip_prefix(self.tail.as_bytes())?;
        if !after.starts_with(b",\"timestamp\":") {
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
    digits.iter().try_fold(0, |value, &digit| {
        Some(value << 4 | u64::from(char::from(digit).to_digit(16)?))
    })
}
