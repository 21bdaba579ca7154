//! Carries the requests of one connection out, one after the other: a task of its own beside the connection, because some
//! have to wait for moderation or the store (`docs/protocols/chat.md §7`). It ends with the last request of the connection.

use std::{rc::Rc, sync::Arc};

use actix_web::rt;
use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use crate::{
    actors::{broker::Broker, fanout::hub::TransportHandle},
    limits,
    older::chat::{
        commands::{Broadcast, Command, Request},
        connection::{Common, Waiting, channels},
        online::Notice,
        push::Push,
        reply::Reply,
        shared::Chat,
    },
    store::StoreError,
};

pub struct RequestLoop {
    pub chat: Arc<Chat>,
    pub connection: Rc<Common>,
    pub handle: TransportHandle,
    pub broker: Arc<Broker>,
    pub user: u64,
}

impl RequestLoop {
    pub async fn run(self, mut requests: mpsc::Receiver<Waiting>, lacks_groups: bool) {
        if lacks_groups {
            let (chat, connection, user) = (Arc::clone(&self.chat), Rc::clone(&self.connection), self.user);
            rt::spawn(async move { find_groups(&chat, &connection, user).await });
        }
        if self.chat.settings.replay_on_connect {
            self.replay().await;
        }
        while let Some((Request { id, command }, _charge)) = requests.recv().await {
            let id = id.as_deref();
            let reply = match command {
                Ok(command) => self.carry_out(command, id).await,
                Err(refused) => Some(refused),
            };
            if let Some(reply) = reply {
                self.send(vec![reply.frame(self.chat.compat(), id)]);
            }
        }
    }

    fn send(&self, frames: Vec<Bytes>) {
        if !frames.is_empty() {
            self.handle.send(frames);
        }
    }

    /// None: the answer comes by another way.
    async fn carry_out(&self, command: Command, id: Option<&RawValue>) -> Option<Reply> {
        let (chat, user) = (&self.chat, self.user);
        let reply = match command {
            Command::Send(message) => chat.send(user, message, &self.broker).await,
            Command::SendGroup(message) => chat.send_to_group(user, message, &self.broker).await,
            Command::Broadcast(broadcast) => return self.broadcast(&broadcast, id).await,
            Command::CreateGroup(wish) => chat.create_group(user, wish, &self.broker).await,
            Command::JoinRoom(room) => self.join_room(&room).await,
            Command::LeaveRoom(room) => self.leave_room(&room),
            Command::Ping => Reply::done(&Push::Pong { time: &chat.now_text() }),
            Command::Online => Reply::done(&Push::welcome(user, &chat.now_text())),
        };
        Some(reply)
    }

    /// The sender's own copy is the answer (§4). Its frame is everybody's; so with an id the answer is one of its own,
    /// and the copy is left out.
    async fn broadcast(&self, broadcast: &Broadcast, id: Option<&RawValue>) -> Option<Reply> {
        let (chat, answered) = (&self.chat, &self.connection.answered);
        let client_id = broadcast.client_id.as_deref();
        if let Some(first) = chat.first_replies.find(self.user, client_id) {
            return Some(first);
        }
        let own = chat.mint_id();
        if id.is_some() {
            answered.borrow_mut().push(own.as_str().into());
        }
        if let Err(refused) = chat.broadcast(self.user, broadcast, &own, &self.broker).await {
            answered.borrow_mut().retain(|known| *known != own);
            return Some(refused);
        }
        let reply = Reply::done(&Push::Broadcast {
            from_user_id: self.user,
            message: &broadcast.message,
            time: &chat.now_text(),
        });
        chat.first_replies.note(self.user, client_id, &reply);
        id.is_some().then_some(reply)
    }

    /// Sends what the user missed, then what has come meanwhile.
    async fn replay(&self) {
        let replay = &self.connection.replay;
        let held = self.send_missed().await.unwrap_or_else(|error| {
            tracing::warn!(%error, "a chat client does not get what it missed; it is in the history");
            replay.borrow_mut().give_up()
        });
        self.send(held);
    }

    /// What was held back meanwhile, and is to be sent behind it.
    async fn send_missed(&self) -> Result<Vec<Bytes>, StoreError> {
        let (chat, replay) = (&self.chat, &self.connection.replay);
        let mut after = chat.archive.seen(self.user).await?;
        let mut left = limits::CHAT_REPLAY_MESSAGES;
        while left > 0 {
            let missed = chat.archive.missed(self.user, after, left.min(limits::CHAT_REPLAY_PAGE)).await?;
            let Some(last) = missed.last() else {
                match replay.borrow_mut().finish() {
                    Some(held) => return Ok(held),
                    None => continue,
                }
            };
            after = Some(last.id);
            left -= missed.len();
            let mut frames = Vec::with_capacity(missed.len());
            for message in &missed {
                let (id, time) = (message.id.to_string(), chat.time_text(message.created));
                frames.push(Push::new_message(message, &id, &time).frame(chat.compat()));
                replay.borrow_mut().replayed(message.id);
            }
            self.send(frames);
        }
        tracing::info!("a chat client has missed more messages than are sent again");
        Ok(replay.borrow_mut().give_up())
    }
}

/// Asks for the user's groups until the store answers.
async fn find_groups(chat: &Chat, connection: &Common, user: u64) {
    while connection.registration.is_registered() {
        rt::time::sleep(limits::CHAT_GROUPS_RETRY).await;
        if let Ok(groups) = chat.archive.groups_of(user).await {
            let notices = channels(&groups).into_iter().map(|channel| Notice::Attach { channel, done: None });
            return connection.registration.notify_all(notices);
        }
    }
}
