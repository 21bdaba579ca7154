//! `broadcast`: to everybody online, the sender included; never stored (`docs/protocols/chat.md §7`).

use std::sync::Arc;

use crate::{
    actors::broker::Broker,
    older::chat::{
        code::Code,
        fields::{Fields, Rules},
        names::EVERYBODY,
        push::Push,
        reply::Reply,
        sending::TEXT,
        shared::Chat,
    },
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broadcast {
    pub message: String,
    pub client_id: Option<String>,
}

impl Broadcast {
    /// Its `data`, for a client that has sent something else.
    pub const FORM: &'static str = "data must be an object with the texts message and client_id";

    /// Error: 10001 for what is no text or too long, 10005 for an empty one; the source has 10002 for that.
    pub fn parse(fields: &Fields, rules: Rules) -> Result<Self, Reply> {
        let message = fields.content("message")?;
        let client_id = fields.client_id()?;
        if message.is_empty() {
            return Err(match rules.is_source {
                true => Reply::with_text(Code::Incomplete, "广播消息不能为空"),
                false => Code::BroadcastEmpty.into(),
            });
        }
        Ok(Self { message: message.to_owned(), client_id })
    }
}

impl Chat {
    /// Publishes it as the message `id`; the sender gets its own copy by the channel.
    /// Error: the reply, instead of any copy.
    pub async fn broadcast(&self, from: u64, it: &Broadcast, id: &str, broker: &Arc<Broker>) -> Result<(), Reply> {
        self.judge(&it.message, TEXT, Code::Blocked).await?;
        let push = Push::Broadcast { from_user_id: from, message: &it.message, time: &self.now_text() };
        let published = broker.publish(&EVERYBODY.into(), push.publish(from, id)).await;
        published.map(drop).map_err(|fault| Reply::of_fault(&fault, Code::BroadcastFailed))
    }
}
