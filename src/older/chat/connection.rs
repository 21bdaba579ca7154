//! The protocol handler of one connection (`docs/protocols/chat.md §4, §7`).
//!
//! It attaches to the channels of its user, of everybody and of the user's groups; when all of them answer, the user is
//! online and is welcomed. Requests wait in a queue for the [`RequestLoop`](super::request_loop), which carries them out
//! one by one: they may have to wait for moderation and the store.

use std::{cell::RefCell, collections::HashMap, rc::Rc, sync::Arc, time::Duration};

use actix_web::rt;
use bytes::Bytes;
use bytestring::ByteString;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot};

use crate::{
    actors::{
        accounts::{Charge, Kind},
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
        code::Code,
        commands::Request,
        identity::TokenUser,
        names::{EVERYBODY, Whose, group_channel, user_channel},
        online::{Notice, Place},
        push::{self, ChatJson, Push},
        replay::Replay,
        reply::Reply,
        request_loop::RequestLoop,
        shared::Chat,
    },
};

/// A request that waits for those before it, and what pays for it until it is carried out.
pub type Waiting = (Request, Option<Charge>);

/// What the connection and its request loop share; both are on one thread.
pub struct Common {
    pub registration: Place,
    /// Broadcasts that the request loop has answered itself: their copy by the channel is not for this connection.
    pub answered: RefCell<Vec<ByteString>>,
    pub replay: RefCell<Replay>,
}

pub struct Connection {
    chat: Arc<Chat>,
    user: TokenUser,
    /// The user's id as messages carry it.
    name: String,
    common: Rc<Common>,
    /// None: the store did not answer; it is asked again.
    groups: Option<Vec<ChannelName>>,
    /// Asked for and not answered, with whoever waits for it.
    attaching: HashMap<ChannelName, Vec<oneshot::Sender<()>>>,
    is_welcome: bool,
    requests: mpsc::Sender<Waiting>,
    /// For the request loop, which begins when the user is online.
    queue: Option<mpsc::Receiver<Waiting>>,
}

impl Connection {
    pub fn new(chat: Arc<Chat>, user: TokenUser, registration: Place, groups: Option<Vec<ChannelName>>) -> Self {
        let (requests, queue) = mpsc::channel(limits::CHAT_WAITING_REQUESTS);
        let replay = RefCell::new(Replay::new(chat.settings.replay_on_connect));
        Self {
            chat,
            user,
            name: user.id.to_string(),
            common: Rc::new(Common { registration, answered: RefCell::default(), replay }),
            groups,
            attaching: HashMap::new(),
            is_welcome: false,
            requests,
            queue: Some(queue),
        }
    }

    fn refuse(&self, reply: &Reply, id: Option<&RawValue>, transport: &mut TransportContext<'_>) {
        transport.count_error();
        transport.send_frame(reply.frame(self.chat.compat(), id));
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
            Ok(()) => self.attaching.entry(channel.clone()).or_default().extend(done),
            // Others have put the user into that many groups: no reason to lose the rest.
            Err(Fault::TooManyChannels { .. }) => {
                let user = self.user.id;
                tracing::warn!(user, "a chat user is in too many groups to get the messages of all");
            }
            // It would miss its messages in silence.
            Err(_) => transport.close(CloseReason::NO_CHANNEL),
        }
    }

    /// Every channel has answered.
    fn enter(&mut self, transport: &mut TransportContext<'_>) {
        let Some(queue) = self.queue.take() else {
            return;
        };
        self.is_welcome = true;
        let is_alone = !self.chat.settings.multi_device;
        let now = transport.now();
        let entered = self.common.registration.enter(transport.handle(), now, is_alone);
        for older in entered.replaced {
            older.close(CloseReason::TakenOver);
        }
        if is_alone {
            self.chat.is_here_now(self.user.id, now, &transport.worker().broker);
        }
        let welcome = Push::welcome(self.user.id, &self.chat.now_text()).frame(self.chat.compat());
        transport.send_frame(welcome);
        let request_loop = RequestLoop {
            chat: Arc::clone(&self.chat),
            connection: Rc::clone(&self.common),
            handle: transport.handle(),
            broker: Arc::clone(&transport.worker().broker),
            user: self.user.id,
        };
        rt::spawn(request_loop.run(queue, self.groups.is_none()));
        self.take_notices(transport);
    }

    fn take_notices(&mut self, transport: &mut TransportContext<'_>) {
        for notice in self.common.registration.take_notices() {
            match notice {
                Notice::Attach { channel, done } => self.attach(&channel, done, transport),
                Notice::Detach(channel) => {
                    // Not attached any more, or on its way out: fine.
                    let _ = transport.detach(&channel, 0, Bytes::new());
                }
            }
        }
    }

    /// With `require_exp` the connection ends with its token (§2).
    fn check_end(&self, transport: &mut TransportContext<'_>) {
        if let Some(end) = self.user.expires.filter(|_| self.chat.settings.require_exp) {
            match end.millis().checked_sub(transport.now().millis()) {
                None | Some(0) => transport.close(CloseReason::TokenEnded),
                Some(left) => transport.wake_in(Duration::from_millis(left)),
            }
        }
    }

    /// Remembers what the client has read, for the next time.
    fn note_seen(&self) {
        let Some(message) = self.common.replay.borrow_mut().take_read() else {
            return;
        };
        let (chat, user) = (Arc::clone(&self.chat), self.user.id);
        rt::spawn(async move {
            if let Err(error) = chat.archive.set_seen(user, message).await {
                tracing::warn!(%error, "what a chat client has read could not be stored; it will get it again");
            }
        });
    }
}

impl ProtocolHandler for Connection {
    fn format(&self) -> &'static dyn WireFormat {
        ChatJson::of(self.chat.compat())
    }

    fn client_id(&self) -> Option<&str> {
        Some(&self.name)
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
        let own = [user_channel(self.user.id), EVERYBODY.into()];
        for channel in own.into_iter().chain(groups) {
            self.attach(&channel, None, transport);
        }
    }

    fn text(&mut self, text: ByteString, transport: &mut TransportContext<'_>) {
        let request = Request::parse(&text, self.chat.rules());
        let (request, why) = match transport.charge(Kind::Inbound, text.len()) {
            Err(full) => (request, full.to_string()),
            Ok(charge) => match self.requests.try_send((request, charge)) {
                Err(mpsc::error::TrySendError::Full((request, _))) => {
                    let most = limits::CHAT_WAITING_REQUESTS;
                    (request, format!("{most} requests wait already; send more when they are answered"))
                }
                // The loop ends when the connection does.
                Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => return,
            },
        };
        let reply = Reply::with_text(Code::TooFast, "请求过多，请等待之前的请求完成").because(why);
        self.refuse(&reply, request.id.as_deref(), transport);
    }

    fn over_rate(&mut self, frame: &Bytes, transport: &mut TransportContext<'_>) {
        let id = str::from_utf8(frame).ok().and_then(Request::id_in);
        self.refuse(&Code::TooFast.into(), id.as_deref(), transport);
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
            Answer::AttachRefused { .. } => match (Whose::of(channel), self.attaching.remove(channel)) {
                // Whoever waits for it tells the client; without the others the connection is of no use.
                (Some(Whose::Room(_)), Some(waiting)) => drop(waiting),
                _ => transport.close(CloseReason::NO_CHANNEL),
            },
            Answer::Broken(_) | Answer::Published { .. } | Answer::PublishRefused { .. } | Answer::Detached { .. } => {}
        }
    }

    fn tailored(&mut self, _: u16, entry: &Arc<Entry>) -> Option<Bytes> {
        // Until then it is for the connection that this one takes the place of.
        if !self.is_welcome {
            return None;
        }
        if !push::is_own(entry) {
            return self.chat.foreign.frames(entry, self.chat.compat(), &self.chat.zone);
        }
        if Whose::of(&entry.channel) == Some(Whose::User) {
            let frame = entry.frame(self.format()).clone();
            return self.common.replay.borrow_mut().arrived(entry, frame);
        }
        if push::is_from(entry, &self.name) {
            return None;
        }
        if let EntryId::Item(id) = &entry.id {
            let mut answered = self.common.answered.borrow_mut();
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
        self.take_notices(transport);
    }

    fn ponged(&mut self, _: &Bytes, _: &mut TransportContext<'_>) {
        self.common.replay.borrow_mut().confirmed();
        self.note_seen();
    }

    fn hung_up(&mut self) {
        self.common.replay.borrow_mut().all_read();
    }

    fn closed(&mut self, _: &mut TransportContext<'_>) {
        self.common.registration.leave();
        self.note_seen();
        // Whoever waits for a channel learns that it will not come.
        self.attaching.clear();
        self.common.registration.take_notices();
        // The request loop does what was asked for, and ends.
        self.requests = mpsc::channel(1).0;
    }
}

/// The channels of these groups, as far as a connection may have them.
pub fn channels(groups: &[String]) -> Vec<ChannelName> {
    let ids = groups.iter().take(limits::CHAT_GROUPS);
    ids.map(|id| group_channel(id)).collect()
}
