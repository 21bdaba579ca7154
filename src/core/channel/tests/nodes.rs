//! Several nodes on one log, as pure states (`docs/design/cluster.md §10`): the log loses, doubles and swaps what it pushes, nodes
//! die, are taken for dead, and the log loses its data. Whatever happens, in the end all nodes know the same members and the same
//! messages. A run is named by its seed; `LETSHARE_SEEDS=100000` tries so many.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::*;
use crate::{
    core::{
        chain::{Broken, Chain, Linked, Tail},
        message::Data,
        modes::Modes,
        operation::{Change, MessageRef, Operation, Version},
        presence::Member,
        serial::Place,
        window::{Bounds, Window},
    },
    ids::NodeId,
};

const BOUNDS: Bounds = Bounds { age: Duration::from_secs(1_000_000), entries: usize::MAX, bytes: usize::MAX };

/// Numbers that follow from a seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % sides as u64) as usize
    }
}

#[derive(Clone)]
enum Task {
    Publish(Publish),
    Leave(ConnectionId, Option<NodeId>),
    Adopt(ConnectionId),
    Enter(Lost),
    Reap(NodeId),
}

struct Node {
    id: NodeId,
    state: ChannelState,
    chain: Chain,
    judged: Place,
    window: Window,
    line: VecDeque<Task>,
    /// Asked of the log, with what it was judged by.
    flying: Option<(Draft, Serial, Place)>,
    pushed: Vec<Linked>,
}

/// The one log, and what it should come to.
struct Model {
    life: Serial,
    entries: Vec<Linked>,
    judged: Place,
    members: Members,
    millis: u64,
}

struct Cluster {
    dice: Dice,
    now: Now,
    model: Model,
    nodes: Vec<Node>,
    /// Of each connection, where it is attached and by which session.
    attached: BTreeMap<u8, (NodeId, u64)>,
    sessions: u64,
    serials: u64,
}

fn new_members() -> Members {
    Members::new(1_000, [])
}

impl Model {
    fn new(life: u64) -> Self {
        let life = Serial::at(Epoch::new(life), (0, 0));
        Self { life, entries: Vec::new(), judged: (0, 0), members: new_members(), millis: 1 }
    }

    fn head(&self) -> Serial {
        self.entries.last().map_or(self.life, |last| last.entry.serial)
    }

    /// None: it was judged by too little.
    fn append(&mut self, node: NodeId, draft: Draft, seen: Serial, by: Place) -> Option<Linked> {
        let is_judged = matches!(draft.body, Body::Presence(_) | Body::Operation(_));
        if seen.epoch() != self.life.epoch() || is_judged && by != self.judged {
            return None;
        }
        self.millis += 1;
        let (previous, serial) = (self.head(), Serial::at(self.life.epoch(), (self.millis, 0)));
        let entry = Arc::new(Entry::of(draft, serial, Timestamp::from_millis(self.millis)));
        if is_judged {
            self.judged = serial.place();
        }
        self.members.follow(&entry, Some(node));
        let linked = Linked { previous, node, entry };
        self.entries.push(linked.clone());
        Some(linked)
    }

    fn members_for(&self, node: NodeId) -> Vec<(Arc<Member>, Option<NodeId>)> {
        let owner = |member: &Arc<Member>| self.members.elsewhere(member.connection).filter(|owner| *owner != node);
        self.members.all().iter().map(|member| (Arc::clone(member), owner(member))).collect()
    }

    /// The data of each message, as the log tells it.
    fn texts(&self) -> BTreeMap<MessageRef, String> {
        let mut texts = BTreeMap::new();
        for Linked { entry, .. } in &self.entries {
            match &entry.body {
                Body::Messages(messages) => {
                    texts.insert(MessageRef { serial: entry.serial, index: 0 }, text(&messages[0].payload.data));
                }
                Body::Operation(operation) => {
                    let said = text(&operation.message.payload.data);
                    let known = texts.get_mut(&operation.target).expect("judged by what is there");
                    match operation.change {
                        Change::Append => known.push_str(&said),
                        _ => *known = said,
                    }
                }
                _ => {}
            }
        }
        texts
    }
}

fn text(data: &Data) -> String {
    String::from_utf8(data.as_bytes().to_vec()).unwrap()
}

impl Node {
    fn join(id: NodeId, model: &Model, now: Now) -> Self {
        let state = ChannelState::shared("c".into(), model.head(), new_members());
        let window = Window::new(model.life.epoch());
        let chain = Chain::new(model.head(), None);
        let (line, flying, pushed) = (VecDeque::new(), None, Vec::new());
        let mut node = Self { id, state, chain, judged: (0, 0), window, line, flying, pushed };
        node.begin(model, now);
        node
    }

    /// Takes the log up where it stands.
    fn begin(&mut self, model: &Model, now: Now) {
        self.chain = Chain::new(model.head(), None);
        self.judged = model.judged;
        self.window = Window::new(model.life.epoch());
        for linked in &model.entries {
            self.keep(now, linked);
        }
        let lost = self.state.restore(now.uptime, model.members_for(self.id));
        self.state.restart(model.head(), model.head(), Gap::Expired);
        self.line.extend(lost.into_iter().map(Task::Enter));
    }

    /// An entry of its own: what an append makes of its message is found out by each node.
    fn keep(&mut self, now: Now, linked: &Linked) -> Arc<Entry> {
        let entry = Arc::new(linked.entry.with(linked.entry.body.clone()));
        if let Some(append) = entry.operation().filter(|operation| operation.change == Change::Append) {
            append.grow(&self.window.settled(append.target).expect("what it is appended to"), None);
        }
        self.window.append(now.uptime, Arc::clone(&entry), BOUNDS);
        entry
    }

    fn take(&mut self, now: Now, taken: Result<Vec<Linked>, Broken>, model: &Model) {
        let Ok(taken) = taken else { return self.begin(model, now) };
        for linked in taken {
            let entry = self.keep(now, &linked);
            if entry.is_judged() {
                self.judged = entry.serial.place();
            }
            let lost = self.state.follow(now, &entry, (linked.node != self.id).then_some(linked.node));
            self.line.extend(lost.map(Task::Enter));
        }
    }

    fn catch_up(&mut self, now: Now, model: &Model) {
        let Some(after) = self.chain.ask() else { return };
        let entries = model.entries.iter().filter(|linked| linked.entry.serial.place() > after.place());
        let tail = Tail { after, entries: entries.cloned().collect(), head: model.head() };
        let taken = self.chain.caught_up(now.uptime, tail);
        self.take(now, taken, model);
    }

    /// Judges the first in the line; what does nothing is dropped.
    fn judge(&mut self, now: Now) {
        let Some(task) = self.line.front().cloned() else { return };
        let draft = match task {
            Task::Publish(publish) => {
                let target = match &publish.body {
                    Body::Operation(operation) => Some(operation.target),
                    _ => None,
                };
                target.and_then(|target| self.window.settled(target)).into_iter().for_each(|known| {
                    self.state.versions.learn(known);
                });
                let judged = self.state.judge(now, publish);
                target.into_iter().for_each(|target| self.state.versions.judged(target));
                match judged {
                    Ok(Judged::New(draft)) if !draft.is_empty() => Some(draft),
                    _ => None,
                }
            }
            Task::Leave(of, owner) => {
                let is_due = self.state.members().elsewhere(of) == owner;
                is_due.then(|| self.state.leave_draft(of)).flatten()
            }
            Task::Adopt(of) => self.state.adoption_draft(of),
            Task::Enter(lost) => self.state.entry_draft(lost),
            Task::Reap(dead) => {
                let owned = self.state.members().owned(Some(dead));
                let leaves: Vec<_> = owned.map(|of| Task::Leave(of, Some(dead))).collect();
                self.line.extend(leaves);
                None
            }
        };
        match draft {
            Some(draft) => self.flying = Some((draft, self.chain.head(), self.judged)),
            None => drop(self.line.pop_front()),
        }
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            if let Effect::Append(Draft { publisher: Some(of), .. }) = effect {
                self.line.push_back(Task::Leave(of, None));
            }
        }
    }
}

impl Cluster {
    fn new(seed: u64) -> Self {
        let (model, now) = (Model::new(1), at(1));
        let nodes = (1..=3).map(|number| Node::join(NodeId::from_bytes([number; 8]), &model, now)).collect();
        let (attached, sessions, serials) = (BTreeMap::new(), 0, 0);
        Self { dice: Dice(seed), now, model, nodes, attached, sessions, serials }
    }

    fn node(&mut self, id: NodeId) -> &mut Node {
        self.nodes.iter_mut().find(|node| node.id == id).expect("it lives")
    }

    /// The log is asked, or answers, or nothing is to be done.
    fn work(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let Some((draft, seen, by)) = node.flying.take() else { return node.judge(self.now) };
        let Some(linked) = self.model.append(node.id, draft.clone(), seen, by) else {
            if let (Body::Presence(_), Some(of)) = (&draft.body, draft.publisher) {
                node.state.members.settle(of);
            }
            return node.catch_up(self.now, &self.model);
        };
        node.line.pop_front();
        let own = linked.node;
        for other in self.nodes.iter_mut().filter(|other| other.id != own) {
            other.pushed.push(linked.clone());
        }
        let node = &mut self.nodes[at];
        let taken = node.chain.push(self.now.uptime, linked);
        node.take(self.now, taken, &self.model);
    }

    fn push(&mut self, at: usize) {
        let (fate, pick) = (self.dice.roll(5), self.dice.roll(1_000));
        let node = &mut self.nodes[at];
        if node.pushed.is_empty() {
            return;
        }
        let place = if fate < 3 { 0 } else { pick % node.pushed.len() };
        let linked = if fate == 1 { node.pushed[place].clone() } else { node.pushed.remove(place) };
        if fate != 4 {
            let taken = node.chain.push(self.now.uptime, linked);
            node.take(self.now, taken, &self.model);
        }
    }

    fn attach(&mut self, number: u8, at: usize) {
        self.sessions += 1;
        let session = self.sessions;
        let node = &mut self.nodes[at];
        let id = AttachmentId { session: SessionId::from_number(session), alias: 0 };
        let filter = Filter::new(Modes::PRESENCE, true);
        let effects = node.state.attach(Attach { id, filter, ..super::attach(number, None) });
        node.line.push_back(Task::Adopt(connection(number)));
        node.carry_out(effects);
        let id = node.id;
        self.attached.insert(number, (id, session));
    }

    /// The transport goes; its members may stay for some time.
    fn lose(&mut self, number: u8, hold: u64) {
        let Some((id, session)) = self.attached.remove(&number) else { return };
        let now = self.now;
        let leave =
            Leave { id: AttachmentId { session: SessionId::from_number(session), alias: 0 }, ..leave(number, hold) };
        let node = self.node(id);
        let effects = node.state.leave(now, leave);
        node.carry_out(effects);
        if hold == 0 {
            node.line.push_back(Task::Leave(connection(number), None));
        }
    }

    fn publish(&mut self, at: usize, publisher: Option<u8>, body: Body) {
        self.serials += 1;
        let id = EntryId::Base(format!("{}", self.serials).into());
        let publisher = publisher.map(connection);
        self.nodes[at].line.push_back(Task::Publish(Publish { publisher, ..Publish::new(id, body) }));
    }

    fn present(&mut self, number: u8) {
        let Some((id, _)) = self.attached.get(&number).copied() else { return };
        let at = self.nodes.iter().position(|node| node.id == id).unwrap();
        let action = match self.dice.roll(4) {
            0 => PresenceAction::Leave,
            1 => PresenceAction::Update,
            _ => PresenceAction::Enter,
        };
        self.serials += 1;
        let event = PresenceEvent {
            id: Some(format!("{}:{}:0", connection(number), self.serials).into()),
            action,
            client_id: ClientId::new(format!("client{}", self.dice.roll(2))).unwrap(),
            payload: Payload::json(format!("{}", self.serials).into()),
            extras: None,
        };
        self.publish(at, Some(number), Body::Presence(vec![event]));
    }

    fn change(&mut self, at: usize) {
        let known: Vec<MessageRef> = self.model.texts().into_keys().collect();
        let message = Message::text(format!(" {}", self.serials).into());
        let body = match known.len() {
            0 => Body::Messages(vec![message]),
            count if self.dice.roll(4) == 0 && count < 3 => Body::Messages(vec![message]),
            count => {
                let target = known[self.dice.roll(count)];
                let change = if self.dice.roll(5) == 0 { Change::Update } else { Change::Append };
                Body::Operation(Box::new(Operation::new(target, change, message, Version::default())))
            }
        };
        self.publish(at, None, body);
    }

    fn die(&mut self, at: usize) {
        if self.nodes.len() == 1 {
            return;
        }
        let dead = self.nodes.remove(at).id;
        self.attached.retain(|_, (id, _)| *id != dead);
        for node in &mut self.nodes {
            node.catch_up(self.now, &self.model);
            node.line.push_back(Task::Reap(dead));
        }
    }

    fn step(&mut self) {
        let (at, number) = (self.dice.roll(self.nodes.len()), self.dice.roll(6) as u8);
        match self.dice.roll(100) {
            0..12 if !self.attached.contains_key(&number) => self.attach(number, at),
            0..24 => self.present(number),
            24..34 => self.change(at),
            34..62 => self.work(at),
            62..82 => self.push(at),
            82..88 => self.nodes[at].catch_up(self.now, &self.model),
            88..91 => {
                let hold = 15 * self.dice.roll(2) as u64;
                self.lose(number, hold);
            }
            91..93 => {
                // It goes on at another node, which it does not tell the old one.
                self.lose(number, 15);
                self.attach(number, at);
            }
            93..96 => self.pass(4),
            96 => self.die(at),
            97 => {
                // It is alive, and taken for dead by another.
                let alive = self.nodes[self.dice.roll(self.nodes.len())].id;
                if alive != self.nodes[at].id {
                    self.nodes[at].line.push_back(Task::Reap(alive));
                }
            }
            98 => {
                self.model = Model::new(self.model.life.epoch().bits() + 1);
                self.nodes.iter_mut().for_each(|node| node.pushed.clear());
            }
            _ => {}
        }
    }

    fn pass(&mut self, seconds: u64) {
        let uptime = self.now.uptime + Duration::from_secs(seconds);
        self.now = Now { wall: Timestamp::from_millis(uptime.as_millis() as u64), uptime };
        for node in &mut self.nodes {
            let effects = node.state.expire(self.now);
            node.carry_out(effects);
        }
    }

    /// Nothing new happens, and everything that is under way comes to its end.
    fn settle(&mut self) {
        for _ in 0..3 {
            self.pass(20);
            for _ in 0..200 {
                for at in 0..self.nodes.len() {
                    self.nodes[at].pushed.clear();
                    self.nodes[at].catch_up(self.now, &self.model);
                    self.work(at);
                }
            }
        }
    }

    fn check(&self, seed: u64) {
        let expected: Vec<_> = self.model.members.all().iter().cloned().collect();
        let texts = self.model.texts();
        for node in &self.nodes {
            assert!(node.line.is_empty() && node.flying.is_none(), "seed {seed}: a line does not end");
            let members: Vec<_> = node.state.members().all().iter().cloned().collect();
            assert_eq!(members, expected, "seed {seed}");
            for (target, text) in &texts {
                let known = node.window.settled(*target).expect("every message");
                assert_eq!(super::nodes::text(&known.payload().data), *text, "seed {seed}");
            }
        }
        let here: BTreeSet<ConnectionId> = self.attached.keys().map(|number| connection(*number)).collect();
        for member in &expected {
            assert!(here.contains(&member.connection), "seed {seed}: {} is a ghost", member.client_id);
            let owner = self.model.members.elsewhere(member.connection);
            let at = self.attached.iter().find(|(number, _)| connection(**number) == member.connection);
            assert_eq!(owner, at.map(|(_, (node, _))| *node), "seed {seed}: its node owns it");
        }
    }
}

/// How many, unless it is asked for more.
fn seeds() -> u64 {
    let asked = std::env::var("LETSHARE_SEEDS");
    asked.map_or(10_000, |asked| asked.parse().expect("LETSHARE_SEEDS is a number"))
}

#[test]
fn all_nodes_come_to_the_same_members_and_messages() {
    let runs = seeds();
    let (mut entries, mut members) = (0, 0);
    for seed in 0..runs {
        let mut cluster = Cluster::new(seed);
        for _ in 0..120 {
            cluster.step();
        }
        cluster.settle();
        cluster.check(seed);
        entries += cluster.model.entries.len();
        members += cluster.model.members.len();
    }
    assert!(
        entries > 3 * runs as usize && members > runs as usize / 2,
        "{entries} entries, {members} members: too little happens"
    );
}
