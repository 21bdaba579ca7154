//! Messages that change while clients come, go on and come back.

use std::collections::BTreeMap;

use super::*;
use crate::core::{
    message::Data,
    operation::{Change, Latest, MessageRef, Operation, Version},
    versions::{Needs, Versions},
};

const BOUNDS: Bounds = Bounds { age: Duration::from_secs(120), entries: usize::MAX, bytes: usize::MAX };

#[derive(Clone, Debug)]
enum Step {
    Publish {
        count: usize,
    },
    Operate {
        message: prop::sample::Index,
        change: Change,
    },
    /// The log tells what it has kept so far, or refuses the newest operation first.
    Tell {
        refuses: bool,
    },
    Attach {
        start: Beginning,
    },
    ComeBack {
        client: prop::sample::Index,
    },
}

#[derive(Clone, Copy, Debug)]
enum Beginning {
    Head,
    Rewind(usize),
    FullAppends,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let change = prop_oneof![4 => Just(Change::Append), 1 => Just(Change::Update), 1 => Just(Change::Delete)];
    let start =
        prop_oneof![Just(Beginning::Head), (0usize..4).prop_map(Beginning::Rewind), Just(Beginning::FullAppends)];
    let step = prop_oneof![
        2 => (1usize..3).prop_map(|count| Step::Publish { count }),
        8 => (any::<prop::sample::Index>(), change).prop_map(|(message, change)| Step::Operate { message, change }),
        4 => prop::bool::weighted(0.2).prop_map(|refuses| Step::Tell { refuses }),
        2 => start.prop_map(|start| Step::Attach { start }),
        1 => any::<prop::sample::Index>().prop_map(|client| Step::ComeBack { client }),
    ];
    prop::collection::vec(step, 1..60)
}

/// What a client shows, and where it stands.
struct Client {
    subscription: Subscription,
    texts: BTreeMap<(Place, u16), String>,
    position: Serial,
}

/// A channel whose log tells later what it has kept.
struct Sim {
    window: Shared,
    mint: Mint,
    versions: Versions,
    /// Stamped and not told.
    pending: Vec<Arc<Entry>>,
    messages: Vec<MessageRef>,
    /// What each message says, as the log has it.
    texts: BTreeMap<(Place, u16), String>,
    clients: Vec<Client>,
    letters: usize,
}

fn text_of(data: &Data) -> String {
    match data {
        Data::Text(text) => text.to_string(),
        _ => String::new(),
    }
}

impl Client {
    /// As a hub does.
    fn deliver(&mut self, entry: &Arc<Entry>) {
        let grown = entry.operation().and_then(|operation| operation.grown());
        let is_whole = grown.is_some_and(|grown| self.subscription.needs_whole(grown.previous));
        let whole = is_whole.then(|| entry.whole()).flatten();
        self.receive(whole.as_ref().unwrap_or(entry));
    }

    fn receive(&mut self, entry: &Entry) {
        match entry.operation() {
            Some(operation) => {
                let text = self.texts.entry(operation.target.place());
                let data = text_of(&operation.message.payload.data);
                match operation.change {
                    // A fragment is for who has the rest: else the client would show a part (T52).
                    Change::Append => text.or_insert_with(|| "nothing before ".to_owned()).push_str(&data),
                    Change::Update | Change::Delete => drop(text.insert_entry(data)),
                }
            }
            None => {
                for (index, message) in entry.messages().iter().enumerate() {
                    let place = (entry.serial.place(), entry.original_index(index) as u16);
                    self.texts.insert(place, text_of(&message.payload.data));
                }
            }
        }
        self.position = entry.serial;
    }
}

impl Sim {
    fn new() -> Self {
        Self {
            window: Arc::new(Mutex::new(Window::new(EPOCH))),
            mint: Mint::new(EPOCH),
            versions: Versions::default(),
            pending: Vec::new(),
            messages: Vec::new(),
            texts: BTreeMap::new(),
            clients: Vec::new(),
            letters: 0,
        }
    }

    fn letter(&mut self) -> Payload {
        self.letters += 1;
        let letter = char::from(b'a' + (self.letters % 26) as u8).to_string();
        Payload { data: Data::Text(letter.into()), ..Payload::default() }
    }

    fn stamp(&mut self, body: Body) -> Arc<Entry> {
        let serial = self.mint.mint(NOW);
        let entry = Arc::new(Entry::new("c".into(), serial, NOW, None, EntryId::Serial, body));
        self.pending.push(Arc::clone(&entry));
        entry
    }

    fn operate(&mut self, target: MessageRef, change: Change) {
        let message = Message { payload: self.letter(), ..Message::default() };
        let mut operation = Operation::new(target, change, message, Version::default());
        if self.versions.needs(&operation) == Needs::Outcomes {
            self.tell();
        }
        if self.versions.needs(&operation) == Needs::Latest
            && let Some(latest) = self.window.lock().newest(target)
        {
            self.versions.learn(latest);
        }
        // The create may have been refused, or is not told.
        if self.versions.judge(&mut operation, false).is_ok() {
            let entry = self.stamp(Body::Operation(Box::new(operation)));
            self.versions.stamped(&entry);
        }
    }

    fn refuse_newest(&mut self) {
        if let Some(at) = self.pending.iter().rposition(|entry| entry.operation().is_some()) {
            let refused = self.pending.remove(at);
            self.versions.withdrawn(&refused);
        }
    }

    fn tell(&mut self) {
        for entry in std::mem::take(&mut self.pending) {
            self.window.lock().append(Duration::ZERO, Arc::clone(&entry), BOUNDS);
            self.versions.taken(&entry);
            self.note(&entry);
            self.clients.iter_mut().for_each(|client| client.deliver(&entry));
        }
    }

    fn note(&mut self, entry: &Entry) {
        match entry.operation() {
            Some(operation) => {
                let data = text_of(&operation.message.payload.data);
                let text = self.texts.entry(operation.target.place()).or_default();
                if operation.change != Change::Append {
                    text.clear();
                }
                text.push_str(&data);
            }
            None => {
                for (index, message) in entry.messages().iter().enumerate() {
                    let place = (entry.serial.place(), index as u16);
                    self.texts.insert(place, text_of(&message.payload.data));
                }
            }
        }
    }

    /// After what is told, as an attach waits for it.
    fn attach(&mut self, start: Start, full_appends: bool, texts: BTreeMap<(Place, u16), String>) {
        self.tell();
        let mut attached = begun(&self.mint, false);
        attached.subscription.filter.full_appends = full_appends;
        let attached = read(attached, start, &self.window, NOW, usize::MAX);
        assert_eq!(attached.gap, None);
        let (subscription, position) = (attached.subscription.clone(), attached.position);
        let mut client = Client { subscription, texts, position };
        for entry in backlog(&attached) {
            client.receive(&entry);
        }
        client.position = attached.head;
        self.clients.push(client);
    }

    fn check(&self) {
        for client in &self.clients {
            for (place, shown) in &client.texts {
                assert_eq!(Some(shown), self.texts.get(place), "{place:?}");
            }
        }
        for target in &self.messages {
            let latest = self.window.lock().newest(*target);
            assert_eq!(latest.map(|latest| text_of(&latest.payload().data)).as_ref(), self.texts.get(&target.place()));
        }
    }
}

proptest! {
    /// Whenever a client attaches, from wherever, whatever is on its way into the log or refused by it: what it shows of a
    /// message is what the message is.
    #[test]
    fn whole_and_fragments_are_the_text(steps in steps()) {
        let mut sim = Sim::new();
        for step in steps {
            match step {
                Step::Publish { count } => {
                    let messages = (0..count).map(|_| Message { payload: sim.letter(), ..Message::default() }).collect();
                    let serial = sim.stamp(Body::Messages(messages)).serial;
                    sim.messages.extend((0..count).map(|index| MessageRef { serial, index: index as u16 }));
                }
                Step::Operate { message, change } if !sim.messages.is_empty() => {
                    sim.operate(*message.get(&sim.messages), change);
                }
                Step::Operate { .. } => {}
                Step::Tell { refuses } => {
                    if refuses {
                        sim.refuse_newest();
                    }
                    sim.tell();
                    sim.check();
                }
                Step::Attach { start: Beginning::Head } => sim.attach(Start::Head, false, BTreeMap::new()),
                Step::Attach { start: Beginning::FullAppends } => sim.attach(Start::Head, true, BTreeMap::new()),
                Step::Attach { start: Beginning::Rewind(messages) } => {
                    sim.attach(Start::Rewind(Rewind { messages, age: None }), false, BTreeMap::new());
                    let client = sim.clients.last().unwrap();
                    // Messages that were published together stay together, so the newest publish may be more than that.
                    let is_one_publish = client.texts.keys().map(|(place, _)| place).collect::<HashSet<_>>().len() == 1;
                    prop_assert!(client.texts.len() <= messages || messages > 0 && is_one_publish);
                    prop_assert!(messages == 0 || !client.texts.is_empty() || sim.texts.len() != 1);
                }
                Step::ComeBack { client } if !sim.clients.is_empty() => {
                    let Client { texts, position, subscription } =
                        sim.clients.swap_remove(client.index(sim.clients.len()));
                    sim.attach(Start::After(Some(position)), subscription.filter.full_appends, texts);
                }
                Step::ComeBack { .. } => {}
            }
        }
        sim.tell();
        sim.check();
    }
}

/// The rewind has no version before one that came when it had begun and was not read yet: that one comes whole.
#[test]
fn an_append_that_overtakes_a_rewind_comes_whole() {
    let mut sim = Sim::new();
    let publish = |sim: &mut Sim| {
        let message = Message { payload: sim.letter(), ..Message::default() };
        let serial = sim.stamp(Body::Messages(vec![message])).serial;
        sim.tell();
        MessageRef { serial, index: 0 }
    };
    let (first, _) = (publish(&mut sim), publish(&mut sim));
    let attached = begun(&sim.mint, false);
    sim.operate(first, Change::Append);
    let late = Arc::clone(&sim.pending[0]);
    sim.tell();
    let start = Start::Rewind(Rewind { messages: 10, age: None });
    let attached = read(attached, start, &sim.window, NOW, usize::MAX);
    let (subscription, position) = (attached.subscription.clone(), attached.position);
    let mut client = Client { subscription, texts: BTreeMap::new(), position };
    backlog(&attached).iter().for_each(|entry| client.receive(entry));
    client.deliver(&late);
    sim.clients.push(client);
    sim.check();
}

/// An append costs what it brings, however long its message is: its entry, and what it sends.
#[test]
fn an_append_costs_the_same_whatever_it_is_appended_to() {
    let mut costs = Vec::new();
    for length in [10, 100_000] {
        let mut sim = Sim::new();
        let payload = Payload { data: Data::Text("x".repeat(length).into()), ..Payload::default() };
        let serial = sim.stamp(Body::Messages(vec![Message { payload, ..Message::default() }])).serial;
        sim.tell();
        let target = MessageRef { serial, index: 0 };
        for _ in 0..3 {
            sim.operate(target, Change::Append);
            sim.tell();
        }
        let latest: Latest = sim.window.lock().newest(target).unwrap();
        assert_eq!(latest.data_len(), length + 3);
        costs.push(latest.entry.cost());
    }
    assert_eq!(costs[0], costs[1]);
}
