//! The two sides of a transfer (docs/protocols/letshare.md §3.3), each on a thread of its own, in the app's order of messages
//! and with its window, without its pauses.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::{
    relay::{
        chunk::{self, CHUNK_BYTES, Frame},
        line::Line,
    },
    tally::{Arrival, Heard, Wrongs},
    wire,
};

/// §3.1 `accept`.
const WINDOW: u32 = 24;
const ACK_EVERY: u32 = 8;

/// One file.
#[derive(Clone)]
pub struct Transfer {
    pub number: usize,
    pub total_chunks: u32,
}

impl Transfer {
    fn id(&self) -> String {
        format!("transfer_1_{:07}", self.number)
    }

    pub fn room(&self) -> String {
        format!("pair{}", self.number)
    }

    pub fn sender(&self) -> String {
        format!("s{}", self.number)
    }

    pub fn receiver(&self) -> String {
        format!("r{}", self.number)
    }

    fn text(&self, kind: &str, more: &str) -> String {
        let (id, room) = (self.id(), self.room());
        format!(r#"{{"type":"file:transfer:{kind}","channel":"{room}","data":{{"transfer_id":"{id}"{more}}}}}"#)
    }

    /// Returns when the receiver has confirmed all of it.
    pub fn send(&self, line: &mut Line) -> Result<()> {
        let total = self.total_chunks;
        let more = format!(
            r#","file_name":"file.bin","file_size":{},"file_type":"application/octet-stream","chunk_size":{CHUNK_BYTES},"total_chunks":{total},"from_user_id":"{}","to_user_id":"{}","room_name":"{}","flow_control":"receiver_ack_v1""#,
            u64::from(total) * CHUNK_BYTES as u64,
            self.sender(),
            self.receiver(),
            self.room(),
        );
        line.say(&self.text("request", &more))?;
        expect(line, "accept")?;
        line.say(&self.text("start", ""))?;
        let mut frame = Frame::new(&self.id(), total);
        let mut acknowledged = 0;
        for index in 0..total {
            while index - acknowledged >= WINDOW {
                acknowledged = acknowledgement(line)?;
            }
            line.send(frame.stamped(index))?;
        }
        while acknowledged < total {
            acknowledged = acknowledgement(line)?;
        }
        line.say(&self.text("end", ""))?;
        expect(line, "complete").map(drop)
    }

    /// Counts into `wrongs` what is not as it was sent.
    pub fn receive(&self, line: &mut Line, wrongs: &mut Wrongs) -> Result<()> {
        let mut heard = Heard::default();
        let done = self.receive_chunks(line, &mut heard, wrongs);
        wrongs.lost += heard.lost(self.total_chunks);
        done
    }

    fn receive_chunks(&self, line: &mut Line, heard: &mut Heard, wrongs: &mut Wrongs) -> Result<()> {
        let (id, total) = (self.id(), self.total_chunks);
        let mut received = 0;
        expect(line, "request")?;
        let more =
            format!(r#","flow_control":"receiver_ack_v1","ack_every_chunks":{ACK_EVERY},"ack_window_chunks":{WINDOW}"#);
        line.say(&self.text("accept", &more))?;
        expect(line, "start")?;
        loop {
            let message = line.next()?;
            if message.opcode == wire::TEXT {
                let text: Value = serde_json::from_slice(message.payload)?;
                ensure!(text["type"] == "file:transfer:end", "received {text}");
                break;
            }
            match chunk::read(&message, &id).map(|index| heard.hear(index)) {
                Some(Arrival::InOrder) => {}
                Some(Arrival::Late) => wrongs.reordered += 1,
                Some(Arrival::Double) => wrongs.doubled += 1,
                None => wrongs.damaged += 1,
            }
            received += 1;
            if received % ACK_EVERY == 0 || received == total {
                let more = format!(
                    r#","chunk_index":{},"received_chunks":{received},"total_chunks":{total},"bytes_received":{}"#,
                    received - 1,
                    u64::from(received) * CHUNK_BYTES as u64,
                );
                line.say(&self.text("ack", &more))?;
            }
        }
        line.say(&self.text("complete", ""))
    }
}

fn expect(line: &mut Line, kind: &str) -> Result<Value> {
    let text = line.hear().with_context(|| format!("waiting for {kind}"))?;
    let told = text["type"].as_str().unwrap_or_default();
    if told.strip_prefix("file:transfer:") != Some(kind) {
        bail!("waiting for {kind}, received {text}");
    }
    Ok(text)
}

/// How many chunks the receiver has.
fn acknowledgement(line: &mut Line) -> Result<u32> {
    let text = expect(line, "ack")?;
    let count = text["data"]["received_chunks"].as_u64();
    Ok(count.context("an ack without a number")?.try_into()?)
}
