//! The protocol handler of one connection (`docs/protocols/chat.md §4, §7`).
//!
//! It attaches to the channels of its user, of everybody and of the user's groups; when all of them answer, the user is
//! online and is welcomed. Requests wait in a queue for the [`Clerk`](super::clerk::Clerk), who carries them out one
//! by one: they may have to wait for moderation and the store.

use std::{cell::RefCell, collections::HashMap, rc::Rc, sync::Arc};

use actix_web::rt;
use bytes::Bytes;
use bytestring::ByteString;
use tokio::sync::{mpsc, oneshot};

use crate::{
    actors::{
        broker,
        transport::context::{ProtocolHandler, Terms, TransportContext},
    },
    core::{
        command::Answer,
        message::{Entry, EntryId},
        wire::WireFormat,
    },
    error::{CloseReason, Fault},
    ids::ChannelName,
    limits,
    older::chat::{
        clerk::{Clerk, Errand, Errands},
        code::Code,
        command::Request,
        door::Shared,
        identity::Visitor,
        names::{EVERYBODY, Whose, group_channel, user_channel},
        online::{Order, Seat},
        push::{self, ChatJson, ChatSourceJson, Push},
        replay::Replay,
        reply::{Reply, Style},
    },
};

/// The server has no room for what the connection needs.
const NO_ROOM: CloseReason =
    CloseReason::Refused { code: 1013, text: "too many channels on this server (limits.channels); come back later" };

/// What the connection and its clerk share; both are on one thread.
pub struct Desk {
    pub seat: Seat,
    /// What the clerk wants of the connection.
    pub errands: Errands,
    /// Broadcasts that the clerk has answered itself: their copy by the channel is not for this connection.
    pub answered: RefCell<Vec<ByteString>>,
    pub replay: RefCell<Replay>,
}

pub struct Socket {
    shared: Arc<Shared>,
    visitor: Visitor,
    /// The user's id as messages carry it.
    name: String,
    desk: Rc<Desk>,
    /// None: the store did not answer; it is asked again.
    groups: Option<Vec<ChannelName>>,
    /// Asked for and not answered, with whoever waits for it.
    attaching: HashMap<ChannelName, Vec<oneshot::Sender<()>>>,
    is_welcome: bool,
    requests: mpsc::Sender<Request>,
    /// For the clerk, who begins when the user is online.
    queue: Option<mpsc::Receiver<Request>>,
}

impl Socket {
    pub fn new(shared: Arc<Shared>, visitor: Visitor, seat: Seat, groups: Option<Vec<ChannelName>>) -> Self {
        let (requests, queue) = mpsc::channel(limits::CHAT_WAITING_REQUESTS);
        let replays = shared.settings.replay_on_connect;
        Self {
            shared,
            visitor,
            name: visitor.id.to_string(),
            desk: Rc::new(Desk {
                seat,
                errands: Errands::default(),
                answered: RefCell::default(),
                replay: RefCell::new(Replay::new(replays)),
            }),
            groups,
            attaching: HashMap::new(),
            is_welcome: false,
            requests,
            queue: Some(queue),
        }
    }

    fn style(&self) -> Style {
        self.shared.exchange.style
    }

    fn tell(&self, reply: &Reply, id: Option<&serde_json::value::RawValue>, transport: &mut TransportContext<'_>) {
        transport.count_error();
        transport.send_frame(reply.frame(self.style(), id));
    }

    fn attach(
        &mut self,
        channel: &ChannelName,
        done: Option<oneshot::Sender<()>>,
        transport: &mut TransportContext<'_>,
    ) {
        if transport.filter(channel, 0).is_some() {
            match (self.attaching.get_mut(channel), done) {
                (Some(waiting), Some(done)) => waiting.push(done),
                (None, Some(done)) => drop(done.send(())),
                (_, None) => {}
            }
            return;
        }
        match transport.subscribe(channel, true, Bytes::new()) {
            Ok(()) => {
                let waiting = self.attaching.entry(channel.clone()).or_default();
                waiting.extend(done);
            }
            // Others have put the user into that many groups: no reason to lose the rest.
            Err(Fault::TooManyChannels { .. }) => {
                let user = self.visitor.id;
                tracing::warn!(user, "a chat user is in too many groups to get the messages of all");
            }
            // It would miss its messages in silence.
            Err(_) => transport.close(NO_ROOM),
        }
    }

    /// Every channel has answered.
    fn enter(&mut self, transport: &mut TransportContext<'_>) {
        let Some(queue) = self.queue.take() else {
            return;
        };
        self.is_welcome = true;
        let multi_device = self.shared.settings.multi_device;
        let replaced = self.desk.seat.enter(transport.handle(), multi_device);
        for older in replaced {
            older.close(CloseReason::TakenOver);
        }
        let time = self.shared.exchange.now_text();
        let welcome = Push::welcome(self.visitor.id, &time);
        transport.send_frame(welcome.frame(self.style()));
        let clerk = Clerk {
            shared: Arc::clone(&self.shared),
            desk: Rc::clone(&self.desk),
            handle: transport.handle(),
            broker: Arc::clone(&transport.worker().broker),
            user: self.visitor.id,
        };
        rt::spawn(clerk.serve(queue, self.groups.is_none()));
        self.run_errands(transport);
    }

    fn run_errands(&mut self, transport: &mut TransportContext<'_>) {
        for Order { channel, done } in self.desk.seat.take_orders() {
            self.attach(&channel, done, transport);
        }
        for errand in self.desk.errands.take() {
            match errand {
                Errand::Attach(channel, done) => self.attach(&channel, Some(done), transport),
                Errand::Detach(channel) => {
                    // Not attached any more, or on its way out: fine.
                    let _ = transport.detach(&channel, 0, Bytes::new());
                }
            }
        }
    }

    /// At the end of the token, with `require_exp` (§2).
    fn check_end(&self, transport: &mut TransportContext<'_>) {
        if !self.shared.settings.require_exp {
            return;
        }
        if let Some(end) = self.visitor.expires {
            match end.millis().checked_sub(transport.now().millis()) {
                None | Some(0) => transport.close(CloseReason::TokenEnded),
                Some(left) => transport.wake_in(std::time::Duration::from_millis(left)),
            }
        }
    }
}

impl ProtocolHandler for Socket {
    fn format(&self) -> &'static dyn WireFormat {
        match self.style() {
            Style::Document => &ChatJson,
            Style::Source => &ChatSourceJson,
        }
    }

    fn terms(&self, settings: &broker::Settings) -> Terms {
        let mut terms = Terms::new(settings);
        // Its groups and rooms have bounds of their own.
        terms.channels = limits::CHAT_GROUPS + limits::CHAT_ROOMS + 2;
        terms
    }

    fn opened(&mut self, transport: &mut TransportContext<'_>) {
        self.check_end(transport);
        let groups = self.groups.clone().unwrap_or_default();
        let own = [user_channel(self.visitor.id), EVERYBODY.into()];
        for channel in own.into_iter().chain(groups) {
            self.attach(&channel, None, transport);
        }
    }

    fn text(&mut self, text: ByteString, transport: &mut TransportContext<'_>) {
        let request = Request::parse(&text, self.shared.rules);
        if !transport.may_send() {
            return self.tell(&Code::TooFast.into(), request.id.as_deref(), transport);
        }
        if let Err(mpsc::error::TrySendError::Full(request)) = self.requests.try_send(request) {
            let text = "请求过多，请等待之前的请求完成";
            let most = limits::CHAT_WAITING_REQUESTS;
            let why = format!("{most} requests wait already; send more when they are answered");
            let reply = Reply::told(Code::TooFast, text).because(why);
            self.tell(&reply, request.id.as_deref(), transport);
        }
    }

    /// §10: as text.
    fn binary(&mut self, data: Bytes, transport: &mut TransportContext<'_>) {
        // What is not UTF-8 is no JSON either.
        self.text(ByteString::try_from(data).unwrap_or_default(), transport);
    }

    fn answered(&mut self, channel: &ChannelName, answer: Answer, transport: &mut TransportContext<'_>) {
        match answer {
            Answer::Attached(_) => {
                for done in self.attaching.remove(channel).into_iter().flatten() {
                    let _ = done.send(());
                }
                if self.attaching.is_empty() && !self.is_welcome {
                    self.enter(transport);
                }
            }
            Answer::AttachRefused { .. } => transport.close(NO_ROOM),
            Answer::Published { .. } | Answer::PublishRefused { .. } | Answer::Detached { .. } => {}
        }
    }

    fn tailored(&mut self, _: u16, entry: &Entry) -> Option<Bytes> {
        // Until then it is for the connection that this one takes the place of.
        if !self.is_welcome {
            return None;
        }
        let exchange = &self.shared.exchange;
        if !push::is_own(entry) {
            return self.shared.foreign.frames(entry, exchange.style, &exchange.zone);
        }
        if Whose::of(&entry.channel) == Some(Whose::User) {
            let frame = entry.frame(self.format()).clone();
            return self.desk.replay.borrow_mut().arrived(entry, frame);
        }
        if push::is_from(entry, &self.name) {
            return None;
        }
        if let EntryId::Item(id) = &entry.id {
            let mut answered = self.desk.answered.borrow_mut();
            if let Some(at) = answered.iter().position(|known| known == id) {
                answered.swap_remove(at);
                return None;
            }
        }
        Some(entry.frame(self.format()).clone())
    }

    fn woken(&mut self, transport: &mut TransportContext<'_>) {
        self.check_end(transport);
    }

    fn nudged(&mut self, transport: &mut TransportContext<'_>) {
        self.run_errands(transport);
    }

    fn ponged(&mut self, _: &Bytes, _: &mut TransportContext<'_>) {
        self.desk.replay.borrow_mut().confirmed();
        self.note_seen();
    }

    fn hung_up(&mut self) {
        self.desk.replay.borrow_mut().all_read();
    }

    fn closed(&mut self, _: &mut TransportContext<'_>) {
        self.desk.seat.leave();
        self.note_seen();
        // Whoever waits for a channel learns that it will not come.
        self.attaching.clear();
        self.desk.errands.take();
        // The clerk does what was asked for, and ends.
        self.requests = mpsc::channel(1).0;
    }
}

impl Socket {
    /// Remembers what the client has read, for the next time.
    fn note_seen(&self) {
        let Some(message) = self.desk.replay.borrow_mut().take_read() else {
            return;
        };
        let (shared, user) = (Arc::clone(&self.shared), self.visitor.id);
        rt::spawn(async move {
            if let Err(error) = shared.exchange.archive.set_seen(user, message).await {
                tracing::warn!(%error, "what a chat client has read could not be stored; it will get it again");
            }
        });
    }
}

/// The channels of these groups, as far as a connection may have them.
pub fn channels(groups: &[String]) -> Vec<ChannelName> {
    let ids = groups.iter().take(limits::CHAT_GROUPS);
    ids.map(|id| group_channel(id)).collect()
}
