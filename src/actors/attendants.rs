//! The parts of protocols that hear what their like at the other nodes of a cluster ask and tell (`docs/design/cluster.md §6`).

use std::{collections::HashMap, pin::Pin, sync::Arc};

use bytes::Bytes;
use parking_lot::RwLock;
use serde_json::value::RawValue;

use crate::{actors::broker::Broker, ids::NodeId};

/// An answer in JSON; none: there is nothing to say.
pub type Answering = Pin<Box<dyn Future<Output = Option<Vec<u8>>> + Send>>;

/// What a protocol does with what is asked and told by its own name at another node.
pub trait Attendant: Send + Sync {
    /// To be answered within [`crate::limits::NODE_ANSWER`].
    fn answer(self: Arc<Self>, broker: Arc<Broker>, question: Box<RawValue>) -> Answering;

    /// In the order in which it was sent; must be quick.
    fn hear(self: Arc<Self>, broker: &Arc<Broker>, from: NodeId, letter: Bytes);

    /// Redis was found without its data; must be quick.
    fn lost(self: Arc<Self>) {}
}

/// By the name of the protocol.
#[derive(Default)]
pub struct Attendants(RwLock<HashMap<&'static str, Arc<dyn Attendant>>>);

impl Attendants {
    pub fn add(&self, protocol: &'static str, attendant: Arc<dyn Attendant>) {
        self.0.write().insert(protocol, attendant);
    }

    pub fn all(&self) -> Vec<Arc<dyn Attendant>> {
        self.0.read().values().cloned().collect()
    }

    pub fn of(&self, protocol: &str) -> Option<Arc<dyn Attendant>> {
        self.0.read().get(protocol).cloned()
    }
}
