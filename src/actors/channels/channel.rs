//! One per active channel: the shell around [`ChannelState`] and its log.
//!
//! It lives on the worker thread that asked for the channel first. When there are no attachments, members
//! or entries left, it retires. What others ask it and wait for stands in `questions`.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler, Message, SpawnHandle};
use tokio::sync::oneshot;

use crate::{
    actors::{
        broker::Broker,
        channels::commit_queue::{Asker, CommitQueue},
        channels::operations::Operations,
        channels::shared::Shared,
        channels::undone::{Command, Order, Owed},
        fanout::{HubHandle, HubMessage},
        worker::Worker,
    },
    core::{
        channel::ChannelState,
        command::{self, Answer, Attach, AttachmentId, Detach, HubId, Now, Publish, Resubscribe},
        message::{Body, Entry, EntryId},
        presence::{Member, Members},
        serial::{Mint, Serial},
        stats::{Source, Traffic},
    },
    error::Fault,
    ids::{ChannelName, SessionId},
    limits,
    log::{ChannelLog, StoreError, shared::Joined},
};

pub struct Channel {
    pub(in crate::actors) state: ChannelState,
    pub(in crate::actors) log: Box<dyn ChannelLog>,
    /// What other nodes publish to the same log; none where there are none.
    pub(in crate::actors) shared: Option<Box<Shared>>,
    /// Its entries are on disk.
    pub(in crate::actors) is_persisted: bool,
    /// The enters of those who are always present: older than the log, and never forgotten.
    pub(in crate::actors) fixtures: Option<Arc<Entry>>,
    /// Few: one per worker thread.
    hubs: Vec<HubHandle>,
    pub(in crate::actors) worker: Rc<Worker>,
    /// What is counted for its app on this thread: counted at each message, so it is at hand.
    pub(in crate::actors) traffic: Rc<RefCell<Traffic>>,
    /// Looks from time to time at what is still needed.
    sweeping: SpawnHandle,
    /// Waits for members whose connections are lost to leave, the first of them at that moment.
    expiring: Option<(Duration, SpawnHandle)>,
    /// Waits until the first of the summaries that have changed is due.
    telling: Option<(Duration, SpawnHandle)>,
    /// What waits for the log.
    pub(in crate::actors) commit_queue: CommitQueue,
    /// Operations on messages that wait for what is known of them.
    pub(in crate::actors) operations: Operations,
    /// Requests that wait until the objects are read.
    pub(in crate::actors) asked_for_objects: Vec<oneshot::Sender<Result<(), Fault>>>,
    /// Changes of objects that are on their way to the disk, and whether some were not kept.
    pub(in crate::actors) keeping: usize,
    pub(in crate::actors) is_unkept: bool,
    /// The occupancy will be sent soon.
    counting: bool,
    /// Whether the directory knows that nobody is attached or present, and whether it was used all the same since the last look.
    is_idle: bool,
    /// The directory takes it for one that somebody is about to attach to.
    is_opening: bool,
    pub(in crate::actors) was_used: bool,
    /// No longer in the directory: whatever still comes belongs to the successor.
    pub(in crate::actors) retired: bool,
    /// Who waits for an answer to the command that is carried out just now.
    pub(in crate::actors) owed: Option<Owed>,
}

/// The transport is gone: it needs no answer.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Leave(pub command::Leave);

/// Its window is gone, and its place is another's: it ends unless somebody has attached meanwhile.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Evict;

/// The log of a channel that is about to begin.
enum Opened {
    Own(Box<dyn ChannelLog>),
    /// Other nodes write to it as well.
    Joined(Box<Shared>, Joined),
}

impl Channel {
    /// Starts the actor of `name` on this worker thread; it goes on where the log stands. Whatever is sent to it waits in
    /// its mailbox until its log is open: other channels do not wait for the disk.
    pub fn open(name: ChannelName, broker: &Arc<Broker>) -> Addr<Self> {
        let mut ctx = Context::new();
        ctx.set_mailbox_capacity(limits::CHANNEL_MAILBOX);
        let address = ctx.address();
        if broker.log.opens_at_once(&name) {
            let log = broker.log.open(&name);
            Self::start_with(Opened::Own(log), name, broker, ctx);
        } else {
            let broker = Arc::clone(broker);
            actix_rt::spawn(async move {
                match Self::opened(&name, &broker, ctx.address()).await {
                    Ok(opened) => Self::start_with(opened, name, &broker, ctx),
                    // The commands in its mailbox are dropped, and with that answered ([`Command`]).
                    Err(error) => {
                        if let Some(more) = broker.disk_warning.allows(&broker.clock) {
                            tracing::error!(%error, more, "a channel could not be opened");
                        }
                        broker.directory.release(&name, &ctx.address());
                        drop(ctx);
                        broker.directory.note_end();
                    }
                }
            });
        }
        address
    }

    /// The log of a channel, when it is open.
    async fn opened(name: &ChannelName, broker: &Arc<Broker>, address: Addr<Self>) -> Result<Opened, StoreError> {
        if let Some(shared) = broker.log.shared_by(name) {
            broker.listen(name, true).await;
            let joined = Shared::join(shared, name, &broker.accounts.app(name.app()), address).await;
            if let Err(error) = &joined {
                broker.log.close(name);
                broker.listen(name, false).await;
                // Whoever waits for it tries again, and not at once what is refused at once.
                if *error != StoreError::Late {
                    actix_rt::time::sleep(limits::CHAIN_AGAIN).await;
                }
            }
            let (shared, joined) = joined?;
            let nodes: Vec<_> = joined.counts.iter().map(|(node, _)| *node).collect();
            broker.has_joined(&shared.log, name, &nodes);
            return Ok(Opened::Joined(shared, joined));
        }
        let (logs, wanted) = (Arc::clone(&broker.log), name.clone());
        let opened = actix_rt::task::spawn_blocking(move || logs.open(&wanted)).await;
        Ok(Opened::Own(opened.map_err(|error| StoreError::Io(error.to_string().into()))?))
    }

    fn start_with(opened: Opened, name: ChannelName, broker: &Arc<Broker>, mut ctx: Context<Self>) {
        let worker = Worker::on_this_thread(broker);
        let terms = broker.namespaces.terms(&name);
        let is_persisted = terms.attributes.is_persisted;
        let traffic = worker.traffic(name.app());
        traffic.borrow_mut().channels.opened += 1;
        let fixed = terms.fixtures.clone();
        let mut members = Members::new(terms.presence_members, terms.fixtures);
        let account = broker.accounts.app(name.app());
        members.charge_to(&account);
        let (mut state, mut log, shared) = match opened {
            Opened::Joined(mut shared, joined) => {
                let (state, log) = shared.state(joined, name, members, broker.clock.uptime());
                (state, log, Some(shared))
            }
            Opened::Own(log) => (ChannelState::new(name, log.mint(), members), log, None),
        };
        let fixtures = fixture_entry(state.name(), log.mint().position(), &fixed);
        state.charge_to(&account);
        for known in log.remembered() {
            state.recall(broker.clock.uptime(), known);
        }
        let annotated = log.annotated_lately();
        ctx.run_later(limits::CHANNEL_OPENING, |channel: &mut Self, ctx| channel.note_opened(ctx));
        let sweeping = ctx.run_interval(broker.settings.get().channel_sweep, Self::sweep);
        let mut channel = Self {
            state,
            log,
            shared,
            is_persisted,
            fixtures,
            hubs: Vec::new(),
            sweeping,
            expiring: None,
            telling: None,
            commit_queue: CommitQueue::default(),
            operations: Operations::default(),
            asked_for_objects: Vec::new(),
            keeping: 0,
            is_unkept: false,
            counting: false,
            worker,
            traffic,
            is_opening: true,
            is_idle: true,
            was_used: false,
            retired: false,
            owed: None,
        };
        channel.recall_summaries(annotated, &mut ctx);
        channel.expire_in_time(&mut ctx);
        ctx.run(channel);
    }

    pub(in crate::actors) fn now(&self) -> Now {
        let clock = &self.worker.broker.clock;
        Now { wall: clock.now(), uptime: clock.uptime() }
    }

    /// The hub of this thread is called directly, unless messages wait for it: one of them may be from
    /// this channel's predecessor, and comes first.
    fn calls(&self, hub: HubId) -> bool {
        let own = &self.worker.hub;
        hub == own.id && own.backlog.load(Ordering::Relaxed) == 0
    }

    pub(in crate::actors) fn tell_entry(&self, hub: HubId, entry: &Arc<Entry>) {
        if self.calls(hub) {
            self.worker.deliver(entry);
        } else if let Some(handle) = self.hub(hub) {
            handle.send(HubMessage::Delivery(Arc::clone(entry)));
        }
    }

    pub(in crate::actors) fn answer(&self, hub: HubId, session: SessionId, answer: Answer) {
        let channel = self.state.name();
        if self.calls(hub) {
            self.worker.answer(channel, session, answer);
        } else if let Some(handle) = self.hub(hub) {
            handle.send(HubMessage::Answer { channel: channel.clone(), session, answer });
        }
    }

    pub(in crate::actors) fn is_congested(&self) -> bool {
        self.commit_queue.len() > limits::CHANNEL_HELD
            || self.state.hubs().any(|hub| {
                self.hub(hub).is_some_and(|handle| handle.backlog.load(Ordering::Relaxed) > limits::HUB_BACKLOG)
            })
    }

    /// Sends the occupancy to the attachments that want it, at most once per [`limits::OCCUPANCY_PAUSE`].
    pub(in crate::actors) fn count_soon(&mut self, ctx: &mut Context<Self>) {
        if self.counting || !self.state.is_observed() && self.shared.is_none() {
            return;
        }
        self.counting = true;
        ctx.run_later(limits::OCCUPANCY_PAUSE, |channel, ctx| {
            channel.counting = false;
            channel.tell_changed_counts(ctx);
            if channel.state.is_observed() {
                let occupancy = channel.state.occupancy_draft();
                channel.append(channel.now(), occupancy, ctx);
            }
        });
    }

    /// Sees that members of lost connections leave when their time is over. The timer stays as it is while the first
    /// moment does: of a crowd that is lost at once, each would set it again.
    pub(in crate::actors) fn expire_in_time(&mut self, ctx: &mut Context<Self>) {
        let due = self.state.members().next_due();
        if self.expiring.map(|(set_for, _)| set_for) == due {
            return;
        }
        if let Some((_, waiting)) = self.expiring.take() {
            ctx.cancel_future(waiting);
        }
        let Some(due) = due else {
            return;
        };
        let wait = due.saturating_sub(self.worker.broker.clock.uptime());
        let wait = wait.max(limits::PRESENCE_TICK);
        let waiting = ctx.run_later(wait, |channel, ctx| {
            channel.expiring = None;
            channel.expire(ctx);
        });
        self.expiring = Some((due, waiting));
    }

    fn expire(&mut self, ctx: &mut Context<Self>) {
        let effects = self.state.expire(self.now());
        self.carry_out(effects, ctx);
        self.expire_in_time(ctx);
    }

    /// Sees that summaries that have changed are told when they are due.
    pub(in crate::actors) fn tell_summaries_in_time(&mut self, ctx: &mut Context<Self>) {
        let Some(due) = self.state.summaries_due() else {
            return;
        };
        match self.telling {
            Some((set_for, _)) if set_for <= due => return,
            Some((_, waiting)) => {
                ctx.cancel_future(waiting);
            }
            None => {}
        }
        let wait = due.saturating_sub(self.worker.broker.clock.uptime());
        let waiting = ctx.run_later(wait.max(limits::SUMMARY_TICK), |channel: &mut Self, ctx| {
            channel.telling = None;
            let now = channel.now();
            for summary in channel.state.take_summaries(now) {
                channel.append(now, summary, ctx);
            }
            channel.tell_summaries_in_time(ctx);
        });
        self.telling = Some((due, waiting));
    }

    /// Whatever comes now waits behind a command that waits for the log.
    #[inline]
    fn is_holding(&self) -> bool {
        self.shared.as_ref().is_some_and(|shared| shared.is_holding())
    }

    /// The channel that is in charge now.
    pub(in crate::actors) fn successor(&self) -> Result<Addr<Self>, Fault> {
        let broker = &self.worker.broker;
        broker.directory.channel(self.state.name(), broker, None)
    }

    /// Hands a late command to the channel that is in charge now. When there can be none, it is dropped, and with
    /// that answered ([`Command`]).
    fn pass_on<M>(&self, command: M)
    where
        M: Message<Result = ()> + Send + 'static,
        Self: Handler<M>,
    {
        match self.successor() {
            Ok(successor) => successor.do_send(command),
            Err(_) => self.worker.broker.directory.note_end(),
        }
    }

    /// Begins with a command; none: its sender has taken it back.
    pub(super) fn begin<C: Order>(&mut self, mut command: Command<C>) -> Option<C> {
        if self.hub(command.hub.id).is_none() {
            self.hubs.push(command.hub.clone());
        }
        command.body.take()
    }

    pub(in crate::actors) fn hub(&self, id: HubId) -> Option<&HubHandle> {
        self.hubs.iter().find(|hub| hub.id == id)
    }

    /// Tells the directory whether anybody is attached or present: who has nobody goes first when there is no room.
    pub(in crate::actors) fn note_use(&mut self, ctx: &Context<Self>) {
        let is_idle = self.state.is_idle();
        if is_idle != self.is_idle || (is_idle && std::mem::take(&mut self.was_used)) {
            self.is_idle = is_idle;
            self.tell_use(ctx);
        }
    }

    /// Whatever it was made for has come by now: if nobody is attached, it may be evicted.
    pub(in crate::actors) fn note_opened(&mut self, ctx: &Context<Self>) {
        if self.is_opening && !self.retired {
            self.tell_use(ctx);
        }
    }

    fn tell_use(&mut self, ctx: &Context<Self>) {
        self.is_opening = false;
        let broker = &self.worker.broker;
        broker.directory.note_use(self.state.name(), &ctx.address(), self.is_idle, broker);
    }

    fn sweep(&mut self, ctx: &mut Context<Self>) {
        self.expire(ctx);
        self.keep_objects(true, ctx);
        self.note_use(ctx);
        // What nobody publishes after is not missed for long either.
        self.look_if_quiet(ctx);
        let is_empty = self.log.expire(self.worker.broker.clock.uptime());
        let is_answered = self.shared.as_ref().is_none_or(|shared| shared.len() == 0) && self.operations.is_empty();
        let is_kept = self.keeping == 0 && !self.is_unkept && self.asked_for_objects.is_empty();
        if is_empty && is_kept && self.state.is_idle() && self.commit_queue.is_empty() && is_answered {
            self.retired = true;
            ctx.cancel_future(self.sweeping);
            // The log first: once the name is free, a successor may open it.
            let broker = &self.worker.broker;
            match &self.shared {
                Some(shared) => broker.leave(&shared.log, self.state.name()),
                None => broker.tell_channel(self.state.name(), false),
            }
            broker.log.close(self.state.name());
            broker.directory.release(self.state.name(), &ctx.address());
            ctx.run_later(limits::CHANNEL_FAREWELL, |_, ctx| ctx.stop());
        }
    }
}

fn fixture_entry(channel: &ChannelName, head: Serial, members: &[Arc<Member>]) -> Option<Arc<Entry>> {
    let first = members.first()?;
    let entry = Entry::new(
        channel.clone(),
        Mint::new(head.epoch()).position(),
        first.timestamp,
        Some(first.connection),
        EntryId::Serial,
        Body::Presence(members.iter().map(|member| member.enter()).collect()),
    );
    Some(Arc::new(entry))
}

impl Handler<Evict> for Channel {
    type Result = ();

    fn handle(&mut self, _: Evict, ctx: &mut Self::Context) {
        if !self.retired && self.state.is_idle() {
            self.log.give_up(usize::MAX);
            self.sweep(ctx);
        }
    }
}

impl Actor for Channel {
    type Context = Context<Self>;
}

impl Handler<Command<Attach>> for Channel {
    type Result = ();

    fn handle(&mut self, command: Command<Attach>, ctx: &mut Self::Context) {
        if self.retired {
            return self.pass_on(command);
        }
        let Some(command) = self.unless_held(command, ctx) else {
            return;
        };
        let Some(mut attach) = self.begin(command) else {
            return;
        };
        let connection = attach.connection;
        if let Some(shared) = &self.shared {
            let AttachmentId { session, alias } = attach.id;
            let is_counted = attach.rules.is_some() && !self.state.is_attached(attach.id);
            let seat = if is_counted { self.take_seat() } else { Ok(()) };
            match seat.and_then(|()| shared.judge(attach.start)) {
                Ok(start) => attach.start = start,
                Err(fault) => return self.answer(attach.hub, session, Answer::AttachRefused { alias, fault }),
            }
        }
        self.owed = Some(Owed::Attachment { hub: attach.hub, id: attach.id });
        let effects = self.state.attach(attach);
        self.note_use(ctx);
        self.adopt(connection, ctx);
        self.carry_out(effects, ctx);
    }
}

impl Handler<Command<Detach>> for Channel {
    type Result = ();

    fn handle(&mut self, command: Command<Detach>, ctx: &mut Self::Context) {
        if self.retired {
            return self.pass_on(command);
        }
        if self.is_holding() {
            return self.hold(command);
        }
        let Some(detach) = self.begin(command) else {
            return;
        };
        self.owed = Some(Owed::Attachment { hub: detach.hub, id: detach.id });
        let connection = detach.connection;
        let effects = self.state.detach(self.now(), detach);
        self.carry_out(effects, ctx);
        self.leave_behind_enters(connection, ctx);
        self.give_back_seats(ctx);
        self.note_use(ctx);
    }
}

impl Handler<Command<Resubscribe>> for Channel {
    type Result = ();

    fn handle(&mut self, command: Command<Resubscribe>, ctx: &mut Self::Context) {
        if self.retired {
            return self.pass_on(command);
        }
        let Some(resubscribe) = self.begin(command) else {
            return;
        };
        let effect = self.state.resubscribe(resubscribe);
        self.note_use(ctx);
        self.carry_out([effect], ctx);
    }
}

impl Handler<Command<Publish>> for Channel {
    type Result = ();

    fn handle(&mut self, command: Command<Publish>, ctx: &mut Self::Context) {
        if self.retired {
            return self.pass_on(command);
        }
        if self.is_holding() {
            return self.hold_publish(command);
        }
        let Some(publish) = self.begin(command) else {
            return;
        };
        self.owed = publish.reply.map(Owed::Publish);
        let reply = publish.reply;
        if let Some(reply) = reply
            && reply.token.is_some()
            && reply.hub == self.worker.hub.id
        {
            self.worker.serve_first(reply.session);
        }
        if self.waits_in_line(&publish) {
            return self.operate(Source::Realtime, publish, reply.map(Asker::Transport), ctx);
        }
        let outcome = self.publish(Source::Realtime, publish, ctx);
        if let Some(reply) = reply {
            self.conclude(reply, outcome);
        }
        // A publish that needs no answer has got none.
        self.owed = None;
    }
}

impl Handler<Leave> for Channel {
    type Result = ();

    fn handle(&mut self, leave: Leave, ctx: &mut Self::Context) {
        if self.retired {
            return self.pass_on(leave);
        }
        if self.is_holding() {
            return self.hold(leave);
        }
        let (connection, is_final) = (leave.0.connection, leave.0.hold.is_zero());
        let effects = self.state.leave(self.now(), leave.0);
        self.carry_out(effects, ctx);
        if is_final {
            self.leave_behind_enters(connection, ctx);
        }
        self.give_back_seats(ctx);
        self.expire_in_time(ctx);
        self.note_use(ctx);
    }
}
