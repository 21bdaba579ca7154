//! What nodes tell and ask each other. Nobody repeats what was lost on the way: whoever asks learns whether all have answered, and
//! whoever is not told to look at a connection looks at it in a minute.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::timeout,
};

use super::{Nodes, TELL};
use crate::{
    engines::redis::{Call, Heard},
    ids::{ConnectionId, NodeId},
    limits,
    log::shared::{lease::read_node, understand},
    store::StoreError,
};

/// What is told: a byte of these, the node that tells it, a number, and more.
pub(super) const LOOK: u8 = b'l';
const QUESTION: u8 = b'q';
const ANSWER: u8 = b'a';
const LETTER: u8 = b'm';

const MORE_AT: usize = 1 + 8 + 8;

/// What a node is told. It may be told twice, but for a letter.
pub enum Word {
    /// This connection may be open elsewhere.
    Look(ConnectionId),
    /// To be answered by [`Nodes::answer`].
    Question(Question),
    /// From a protocol's part at another node to that at this one, at most once, in the order in which they were sent.
    Letter { from: NodeId, protocol: Bytes, body: Bytes },
}

pub struct Question {
    pub body: Bytes,
    pub from: NodeId,
    number: u64,
}

/// None: the node is gone.
pub(super) type Answer = (NodeId, Option<Bytes>);

/// Called by the tail's task; must be quick.
pub(super) type Hears = Box<dyn Fn(Word) + Send + Sync>;

fn topic(node: NodeId) -> Vec<u8> {
    format!("ls:{{n:{node}}}").into_bytes()
}

impl Nodes {
    /// What this node is told from now on. Asked once.
    pub fn on_word(&self, hears: impl Fn(Word) + Send + Sync + 'static) {
        let _ = self.0.on_word.set(Box::new(hears));
    }

    pub(super) fn open_inbox(&self) {
        let inner = Arc::downgrade(&self.0);
        let hears = move |heard| {
            if let (Heard::Message(bytes), Some(inner)) = (heard, inner.upgrade()) {
                Self(inner).told(&bytes);
            }
        };
        self.0.tail.subscribe(topic(self.own()), Box::new(hears), Box::new(|| {}));
    }

    fn told(&self, bytes: &Bytes) -> Option<()> {
        let (head, _) = bytes.split_at_checked(MORE_AT)?;
        let (from, more) = (read_node(&head[1..9])?, bytes.slice(MORE_AT..));
        let number = u64::from_be_bytes(head[9..].try_into().ok()?);
        let word = match head[0] {
            LOOK => Word::Look(ConnectionId::from_bytes(more[..].try_into().ok()?)),
            QUESTION => Word::Question(Question { body: more, from, number }),
            ANSWER => {
                let waiting = self.0.waiting.lock();
                let _ = waiting.get(&number)?.send((from, Some(more)));
                return None;
            }
            LETTER => {
                let (length, rest) = (usize::from(*more.first()?), more.slice(1..));
                rest.split_at_checked(length)?;
                Word::Letter { from, protocol: rest.slice(..length), body: rest.slice(length..) }
            }
            _ => return None,
        };
        self.0.on_word.get()?(word);
        None
    }

    /// `done` is told whether anybody was there to hear it.
    pub(super) fn tell(
        &self,
        node: NodeId,
        kind: u8,
        number: u64,
        more: &[u8],
        done: impl FnOnce(Result<bool, StoreError>) + Send + 'static,
    ) {
        let what = [&[kind], &self.own().to_bytes()[..], &number.to_be_bytes(), more].concat();
        self.call(TELL, vec![topic(node)], vec![what.into()], is_heard, done);
    }

    /// Sends the part of a protocol at another node something; `done` is told whether anybody was there to hear it.
    pub fn send(
        &self,
        node: NodeId,
        protocol: &str,
        body: &[&[u8]],
        done: impl FnOnce(Result<bool, StoreError>) + Send + 'static,
    ) {
        let length = u8::try_from(protocol.len()).unwrap_or_default();
        let (own, number) = (self.own().to_bytes(), 0_u64.to_be_bytes());
        let head: [&[u8]; 5] = [&[LETTER], &own, &number, &[length], protocol.as_bytes()];
        let what = [&head, body].concat().concat();
        let done = Box::new(move |answer| done(understand(answer, is_heard)));
        let (keys, args) = (vec![topic(node)], vec![what.into()]);
        self.0.letters.call(Call { script: TELL, keys, args, repeats: false, done });
    }

    /// The others that hold a lease.
    pub fn others(&self) -> Vec<NodeId> {
        self.alive().into_iter().filter(|node| *node != self.own()).collect()
    }

    /// What each of the others answers.
    ///
    /// # Errors
    /// [`StoreError::Late`]: not all who are there have answered.
    pub async fn ask(&self, question: &[u8]) -> Result<Vec<Bytes>, StoreError> {
        match self.gather(question, |_| false).await {
            (answers, true) => Ok(answers),
            (_, false) => Err(StoreError::Late),
        }
    }

    /// What the others answer in time, up to the first answer that is enough, and whether all have answered. A node that has died
    /// holds its lease for a while, and hears nothing.
    pub async fn gather(&self, question: &[u8], is_enough: impl Fn(&[u8]) -> bool) -> (Vec<Bytes>, bool) {
        let (answers, are_all) = self.answers(question, is_enough).await;
        (answers.into_values().flatten().collect(), are_all)
    }

    /// What each of the others answers, in order; none: nothing in time.
    pub async fn ask_each(&self, question: &[u8]) -> BTreeMap<NodeId, Option<Bytes>> {
        self.answers(question, |_| false).await.0
    }

    async fn answers(
        &self,
        question: &[u8],
        is_enough: impl Fn(&[u8]) -> bool,
    ) -> (BTreeMap<NodeId, Option<Bytes>>, bool) {
        let others = self.others();
        let mut answers: BTreeMap<_, _> = others.iter().map(|node| (*node, None)).collect();
        if others.is_empty() {
            return (answers, true);
        }
        let mut waiting = Waiting::begin(self);
        for node in &others {
            let (node, answers) = (*node, waiting.answered.clone());
            let told = move |told: Result<bool, StoreError>| {
                if told == Ok(false) {
                    let _ = answers.send((node, None));
                }
            };
            self.tell(node, QUESTION, waiting.number, question, told);
        }
        let mut awaited: BTreeSet<NodeId> = others.into_iter().collect();
        let all = async {
            while !awaited.is_empty()
                && let Some((node, answer)) = waiting.answers.recv().await
            {
                awaited.remove(&node);
                let is_enough = answer.as_ref().is_some_and(|answer: &Bytes| is_enough(answer));
                answers.insert(node, answer);
                if is_enough {
                    break;
                }
            }
        };
        let are_all = timeout(limits::NODE_ANSWER, all).await.is_ok();
        (answers, are_all)
    }

    pub fn answer(&self, question: &Question, answer: &[u8]) {
        self.tell(question.from, ANSWER, question.number, answer, drop);
    }
}

fn is_heard(parts: &[Bytes]) -> Option<bool> {
    Some(&parts.first()?[..] != b"0")
}

/// Nobody waits for the answers any more when it is dropped.
struct Waiting<'a> {
    nodes: &'a Nodes,
    number: u64,
    answered: UnboundedSender<Answer>,
    answers: UnboundedReceiver<Answer>,
}

impl<'a> Waiting<'a> {
    fn begin(nodes: &'a Nodes) -> Self {
        let number = nodes.0.asked.fetch_add(1, Ordering::Relaxed);
        let (answered, answers) = unbounded_channel();
        nodes.0.waiting.lock().insert(number, answered.clone());
        Self { nodes, number, answered, answers }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.nodes.0.waiting.lock().remove(&self.number);
    }
}
