//! `send_message`: to one user.

use crate::older::chat::{
    code::Code,
    fields::{Fields, Rules, Text},
    reply::Reply,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendMessage {
    pub to: u64,
    pub text: Text,
}

impl SendMessage {
    /// Error: 10001 for what is of the wrong type or too long, 10002 for what is missing.
    pub fn parse(fields: &Fields, rules: Rules) -> Result<Self, Reply> {
        let to = fields.user("to_user_id")?;
        let text = fields.message(rules)?;
        let to = to.filter(|_| !text.content.is_empty()).ok_or(Code::Incomplete)?;
        Ok(Self { to, text })
    }
}
