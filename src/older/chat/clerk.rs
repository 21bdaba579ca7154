//! Carries the requests of one connection out, one after the other: a task of its own beside the connection, because some
//! have to wait for moderation or the store (`docs/protocols/chat.md §7`). It ends with the last request of the connection.

use std::{cell::RefCell, collections::VecDeque, mem, rc::Rc, sync::Arc};

use actix_web::rt;
use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot};

use crate::{
    actors::{broker::Broker, fanout::hub::TransportHandle},
    ids::ChannelName,
    limits,
    older::chat::{
        code::Code,
        command::{Broadcast, Command, Request},
        door::Shared,
        names::room_channel,
        online::TooMany,
        push::Push,
        reply::{Reply, Style},
        socket::{Desk, channels},
    },
};

/// What only the connection can do.
pub enum Errand {
    /// Told when it is attached.
    Attach(ChannelName, oneshot::Sender<()>),
    Detach(ChannelName),
}

/// Errands that wait for the connection.
#[derive(Default)]
pub struct Errands(RefCell<VecDeque<Errand>>);

impl Errands {
    pub fn take(&self) -> VecDeque<Errand> {
        mem::take(&mut self.0.borrow_mut())
    }
}

pub struct Clerk {
    pub shared: Arc<Shared>,
    pub desk: Rc<Desk>,
    pub handle: TransportHandle,
    pub broker: Arc<Broker>,
    pub user: u64,
}

impl Clerk {
    pub async fn serve(self, mut requests: mpsc::Receiver<Request>, lacks_groups: bool) {
        if lacks_groups {
            let (shared, desk, user) = (Arc::clone(&self.shared), Rc::clone(&self.desk), self.user);
            rt::spawn(async move { find_groups(&shared, &desk, user).await });
        }
        if self.shared.settings.replay_on_connect {
            self.replay().await;
        }
        while let Some(Request { id, command }) = requests.recv().await {
            let id = id.as_deref();
            let reply = match command {
                Ok(command) => self.carry_out(command, id).await,
                Err(refused) => Some(refused),
            };
            if let Some(reply) = reply {
                self.send(vec![reply.frame(self.style(), id)]);
            }
        }
    }

    fn style(&self) -> Style {
        self.shared.exchange.style
    }

    fn send(&self, frames: Vec<Bytes>) {
        if !frames.is_empty() {
            self.handle.send(frames);
        }
    }

    /// None: the answer comes by another way.
    async fn carry_out(&self, command: Command, id: Option<&RawValue>) -> Option<Reply> {
        let (exchange, user) = (&self.shared.exchange, self.user);
        let reply = match command {
            Command::Send(message) => exchange.send(user, message, &self.broker).await,
            Command::SendGroup(message) => exchange.send_group(user, message, &self.broker).await,
            Command::Broadcast(broadcast) => return self.broadcast(&broadcast, id).await,
            Command::CreateGroup(wish) => exchange.create_group(user, wish).await,
            Command::JoinRoom(room) => self.join(&room).await,
            Command::LeaveRoom(room) => self.leave(&room),
            Command::Ping => Reply::done(&Push::Pong { time: &exchange.now_text() }),
            Command::Online => Reply::done(&Push::welcome(user, &exchange.now_text())),
        };
        Some(reply)
    }

    /// The sender's own copy is the answer (§4). Its frame is everybody's; so with an id the answer is one of its own,
    /// and the copy is left out.
    async fn broadcast(&self, broadcast: &Broadcast, id: Option<&RawValue>) -> Option<Reply> {
        let exchange = &self.shared.exchange;
        let client_id = broadcast.client_id.as_deref();
        if let Some(first) = exchange.answered(self.user, client_id) {
            return Some(first);
        }
        let own = exchange.mint_id();
        if id.is_some() {
            self.desk.answered.borrow_mut().push(own.as_str().into());
        }
        let sent = exchange.broadcast(self.user, broadcast, &own, &self.broker);
        if let Err(refused) = sent.await {
            let mut answered = self.desk.answered.borrow_mut();
            answered.retain(|known| *known != own);
            return Some(refused);
        }
        let reply = Reply::done(&Push::Broadcast {
            from_user_id: self.user,
            message: &broadcast.message,
            time: &exchange.now_text(),
        });
        exchange.note_answer(self.user, client_id, &reply);
        id.is_some().then_some(reply)
    }

    async fn join(&self, room: &str) -> Reply {
        let seat = &self.desk.seat;
        match seat.join(room) {
            Ok(true) => {
                let (told, done) = oneshot::channel();
                self.run(Errand::Attach(room_channel(room), told));
                if done.await.is_err() {
                    // The connection has ended; nobody reads this.
                    seat.leave_room(room);
                }
            }
            Ok(false) => {}
            Err(TooMany) => {
                return Reply::told(Code::JoinUnreadable, "加入的房间过多 (too many rooms)");
            }
        }
        Reply::done(&Push::JoinRoomSuccess {
            room_id: room,
            user_id: self.user,
            time: &self.shared.exchange.now_text(),
        })
    }

    fn leave(&self, room: &str) -> Reply {
        if self.desk.seat.leave_room(room) {
            self.run(Errand::Detach(room_channel(room)));
        }
        Reply::done(&Push::LeaveRoomSuccess {
            room_id: room,
            user_id: self.user,
            time: &self.shared.exchange.now_text(),
        })
    }

    fn run(&self, errand: Errand) {
        self.desk.errands.0.borrow_mut().push_back(errand);
        self.handle.nudge();
    }

    /// Sends what the user missed, then what has come meanwhile.
    async fn replay(&self) {
        let (archive, replay) = (&self.shared.exchange.archive, &self.desk.replay);
        let found = async {
            let mut after = archive.seen(self.user).await?;
            let mut left = limits::CHAT_REPLAY_MESSAGES;
            loop {
                let wanted = left.min(limits::CHAT_REPLAY_PAGE);
                let missed = archive.missed(self.user, after, wanted).await?;
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
                    let exchange = &self.shared.exchange;
                    let (id, time) = (message.id.to_string(), exchange.time_text(message.created));
                    frames.push(Push::new_message(message, &id, &time).frame(self.style()));
                    replay.borrow_mut().replayed(message.id);
                }
                self.send(frames);
                if left == 0 {
                    tracing::info!("a chat client has missed more messages than are sent again");
                    return Ok(replay.borrow_mut().give_up());
                }
            }
        };
        let found: Result<_, crate::store::StoreError> = found.await;
        let held = found.unwrap_or_else(|error| {
            tracing::warn!(%error, "a chat client does not get what it missed; it is in the history");
            replay.borrow_mut().give_up()
        });
        self.send(held);
    }
}

/// Asks for the user's groups until the store answers.
async fn find_groups(shared: &Shared, desk: &Desk, user: u64) {
    while desk.seat.is_taken() {
        rt::time::sleep(limits::CHAT_GROUPS_RETRY).await;
        if let Ok(groups) = shared.exchange.archive.groups_of(user).await {
            return desk.seat.order(channels(&groups));
        }
    }
}
