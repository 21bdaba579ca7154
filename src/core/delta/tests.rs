#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use bytestring::ByteString;
use oxidelta::vcdiff::decoder::decode_memory;
use proptest::prelude::*;

use super::*;
use crate::{
    core::{
        message::EntryId,
        serial::{Epoch, Mint},
    },
    ids::{AppId, ChannelName, Timestamp},
};

fn entry(mint: &mut Mint, body: Body) -> Arc<Entry> {
    let now = Timestamp::from_millis(1);
    let channel = ChannelName::new(AppId::DEFAULT, "x");
    Arc::new(Entry::new(channel, mint.mint(now), now, None, EntryId::Serial, body))
}

fn message(data: Data, encoding: &'static str) -> Message {
    Message { payload: Payload { data, encoding: encoding.into(), is_json: false }, ..Message::default() }
}

fn text(text: &str) -> Message {
    message(Data::Text(text.into()), "json")
}

fn messages(mint: &mut Mint, messages: Vec<Message>) -> Arc<Entry> {
    entry(mint, Body::Messages(messages))
}

/// What a client remembers: the id of its last message, and the bytes of that.
#[derive(Default)]
struct Client {
    last_id: Option<String>,
    last: Vec<u8>,
    deltas: usize,
}

impl Client {
    /// Reads a frame as ably-js does: the message that the first one goes on from has to be the last one that came.
    fn read(&mut self, sent: &Entry, original: &Entry) {
        if matches!(sent.body, Body::Presence(_)) {
            return;
        }
        self.last = if sent.messages().is_empty() { Vec::new() } else { std::mem::take(&mut self.last) };
        for (index, message) in sent.messages().iter().enumerate() {
            let whole = &original.messages()[index].payload;
            let delta = message.extras.as_ref().and_then(|extras| extras.get(DELTA));
            let bytes = match &message.payload.data {
                Data::Binary(delta) if message.payload.encoding.ends_with("vcdiff") => {
                    self.deltas += 1;
                    assert!(delta.len() < whole.data.len());
                    decode_memory(delta, &self.last).unwrap()
                }
                data => data.as_bytes().to_vec(),
            };
            if let Some(delta) = delta {
                assert_eq!(delta["from"].as_str(), self.last_id.as_deref());
                assert_eq!(delta["format"], "vcdiff");
            }
            assert_eq!(bytes, whole.data.as_bytes());
            (self.last, self.last_id) = (bytes, Some(sent.item_id(index).to_string()));
        }
    }
}

fn document(field: usize, value: usize) -> String {
    (0..8).map(|place| format!("\"field{place}\":{},", if place == field { value } else { place })).collect()
}

fn any_message() -> impl Strategy<Value = Message> {
    prop_oneof![
        4 => (0usize..8, 0usize..1000).prop_map(|(field, value)| text(&document(field, value))),
        1 => (0usize..8, 0usize..1000).prop_map(|(field, value)| {
            message(Data::Binary(Bytes::from(document(field, value))), "")
        }),
        1 => Just(message(Data::None, "")),
        1 => Just(message(Data::Text(ByteString::from_static("")), "")),
        1 => Just(message(Data::Binary(Bytes::from_static(b"secret secret secret")), "json/utf-8/cipher+aes-128-cbc")),
    ]
}

#[derive(Clone, Debug)]
enum Step {
    Publish(Vec<Message>),
    Presence,
    Occupancy,
    /// The window drops what it has.
    Cut,
    /// The client attaches again, and gets the last so many entries once more.
    Attach(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => prop::collection::vec(any_message(), 1..4).prop_map(Step::Publish),
        1 => Just(Step::Presence),
        1 => Just(Step::Occupancy),
        1 => Just(Step::Cut),
        2 => (0usize..4).prop_map(Step::Attach),
    ]
}

proptest! {
    /// features spec RTL18, RTL19, RTL20: whatever comes in between, what a client makes of its differences is what was
    /// published. Two clients, of which one gets only some of it, share what is made.
    #[test]
    fn clients_read_what_was_published(steps in prop::collection::vec((step(), any::<bool>()), 1..40)) {
        let mut mint = Mint::new(Epoch::new(1));
        let deltas: Rc<RefCell<Deltas>> = Rc::default();
        let mut streams = [DeltaStream::new(Rc::clone(&deltas)), DeltaStream::new(deltas)];
        let mut clients = [Client::default(), Client::default()];
        let mut window: Vec<Arc<Entry>> = Vec::new();
        for (step, is_for_both) in steps {
            let body = match step {
                Step::Publish(messages) => Body::Messages(messages),
                Step::Presence => Body::Presence(Vec::new()),
                Step::Occupancy => Body::Occupancy(Box::default()),
                Step::Cut => {
                    window.clear();
                    continue;
                }
                Step::Attach(count) => {
                    let backlog = &window[window.len().saturating_sub(count)..];
                    clients[0].last_id = None;
                    let mut stream = streams[0].anew();
                    backlog.iter().for_each(|entry| clients[0].read(&stream.next(entry), entry));
                    let last = backlog.iter().rev().find(|entry| is_base(entry));
                    streams[0].go_on_from(last.map(Arc::downgrade).unwrap_or_default());
                    continue;
                }
            };
            let is_kept = !matches!(body, Body::Occupancy(_));
            let entry = entry(&mut mint, body);
            for place in 0..=usize::from(is_for_both) {
                clients[place].read(&streams[place].next(&entry), &entry);
            }
            if is_kept {
                window.push(entry);
            }
        }
    }
}

/// docs/protocols/ably.md §8.6: the encodings, and that a frame goes on within itself.
#[test]
fn a_frame_is_a_chain() {
    let mut mint = Mint::new(Epoch::new(1));
    let binary = |text: &str| message(Data::Binary(Bytes::copy_from_slice(text.as_bytes())), "");
    let plain = |text: String| message(Data::Text(text.into()), "");
    let all = vec![text(&document(0, 7)), plain(document(0, 8)), binary(&document(0, 9)), binary(&document(0, 10))];
    let entry = messages(&mut mint, all);
    let sent = DeltaStream::new(Rc::default()).next(&entry);
    let encodings: Vec<&str> = sent.messages().iter().map(|message| &*message.payload.encoding).collect();
    assert_eq!(encodings, ["json", "utf-8/vcdiff", "vcdiff", "vcdiff"]);
    let mut client = Client::default();
    client.read(&sent, &entry);
    assert_eq!(client.deltas, 3);
    let next = messages(&mut mint, vec![text(&document(0, 11))]);
    let mut stream = DeltaStream::new(Rc::default());
    stream.go_on_from(Arc::downgrade(&entry));
    let sent = stream.next(&next);
    client.read(&sent, &next);
    assert_eq!(&*sent.messages()[0].payload.encoding, "json/utf-8/vcdiff");
}

/// All who go on from the same entry share one; whoever comes with one base too many gets the message whole.
#[test]
fn differences_are_made_once_and_not_without_end() {
    let mut mint = Mint::new(Epoch::new(1));
    let deltas: Rc<RefCell<Deltas>> = Rc::default();
    let mut publish = |value| messages(&mut mint, vec![text(&document(1, value))]);
    let bases: Vec<Arc<Entry>> = (0..=limits::DELTA_BASES).map(&mut publish).collect();
    let entry = publish(1_000);
    let next = |base: &Arc<Entry>| {
        let mut stream = DeltaStream::new(Rc::clone(&deltas));
        stream.go_on_from(Arc::downgrade(base));
        stream.next(&entry)
    };
    let sent: Vec<Arc<Entry>> = bases.iter().map(next).collect();
    let is_whole: Vec<bool> = sent.iter().map(|sent| Arc::ptr_eq(sent, &entry)).collect();
    assert_eq!(is_whole.iter().filter(|is_whole| **is_whole).count(), 1);
    assert!(is_whole[limits::DELTA_BASES]);
    assert!(Arc::ptr_eq(&next(&bases[0]), &sent[0]));
}
