//! One per active channel: the shell around [`ChannelState`] and its log.
//!
//! It lives on the worker thread that asked for the channel first. When nobody is attached and the
//! log keeps nothing, it retires.

use std::{
    collections::HashMap,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
};

use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler, Message, SpawnHandle};

use crate::{
    actors::{
        broker::Broker,
        hub::{HubHandle, Letter},
        worker::Worker,
    },
    core::{
        channel::{Answer, Attach, ChannelState, Detach, Effect, HubId, Reseat},
        message,
    },
    error::Fault,
    ids::{ChannelName, ConnectionId},
    limits,
    log::ChannelLog,
};

pub struct Channel {
    state: ChannelState,
    log: Box<dyn ChannelLog>,
    hubs: HashMap<HubId, HubHandle>,
    worker: Rc<Worker>,
    /// Looks from time to time at what is still needed.
    sweeping: SpawnHandle,
    /// No longer in the directory: whatever still comes belongs to the successor.
    retired: bool,
}

/// A command together with the hub that answers for its connection.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub struct Command<C> {
    pub hub: HubHandle,
    pub body: C,
}

/// Publishes for an attached connection.
#[derive(Clone)]
pub struct Publish {
    pub connection: ConnectionId,
    pub message: message::Message,
}

/// The connection is gone: it needs no answer.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Leave(pub ConnectionId);

impl Channel {
    /// Starts the actor of `name` on this worker thread; it goes on where the log stands.
    pub fn open(name: ChannelName, broker: &Arc<Broker>) -> Addr<Self> {
        Self::create(|ctx| {
            ctx.set_mailbox_capacity(limits::CHANNEL_MAILBOX);
            let worker = Worker::on_this_thread(broker);
            let log = broker.log.open(&name);
            Self {
                state: ChannelState::new(name, log.mint()),
                log,
                hubs: HashMap::new(),
                sweeping: ctx.run_interval(broker.settings.channel_sweep, Self::sweep),
                worker,
                retired: false,
            }
        })
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Append(entry) => {
                self.worker.count(|counters| counters.published += 1);
                self.log
                    .append(self.worker.broker.clock.uptime(), Arc::clone(&entry));
                for hub in self.state.hubs() {
                    self.tell(hub, Letter::Delivery(Arc::clone(&entry)));
                }
            }
            Effect::Answer {
                hub,
                connection,
                answer,
            } => {
                let channel = self.state.name().clone();
                self.tell(
                    hub,
                    Letter::Answer {
                        channel,
                        connection,
                        answer,
                    },
                );
            }
            Effect::Replay { hub, after } => match self.log.after(after) {
                Ok(missed) => {
                    for entry in missed {
                        self.tell(hub, Letter::Delivery(entry));
                    }
                }
                Err(gap) => tracing::error!(%gap, "messages were lost with a channel actor"),
            },
        }
    }

    /// The hub of this thread is called directly, unless letters wait for it: one of them may be from
    /// this channel's predecessor, and comes first.
    fn tell(&self, hub: HubId, letter: Letter) {
        let own = &self.worker.hub;
        if hub == own.id && own.backlog.load(Ordering::Relaxed) == 0 {
            self.worker.receive(letter);
        } else if let Some(handle) = self.hubs.get(&hub) {
            handle.send(letter);
        }
    }

    fn is_congested(&self) -> bool {
        self.state.hubs().any(|hub| {
            let handle = self.hubs.get(&hub);
            handle
                .is_some_and(|handle| handle.backlog.load(Ordering::Relaxed) > limits::HUB_BACKLOG)
        })
    }

    /// Hands a late command to the channel that is in charge now.
    fn pass_on<M>(&self, command: M)
    where
        M: Message<Result = ()> + Send + 'static,
        Self: Handler<M>,
    {
        if let Ok(successor) = self
            .worker
            .broker
            .directory
            .channel(self.state.name(), &self.worker.broker)
        {
            successor.do_send(command);
        }
    }

    fn sweep(&mut self, ctx: &mut Context<Self>) {
        let is_empty = self.log.expire(self.worker.broker.clock.uptime());
        if is_empty && self.state.is_idle() {
            self.retired = true;
            ctx.cancel_future(self.sweeping);
            // The log first: once the name is free, a successor may open it.
            let broker = &self.worker.broker;
            broker.log.close(self.state.name());
            broker.directory.release(self.state.name(), &ctx.address());
            ctx.run_later(limits::CHANNEL_FAREWELL, |_, ctx| ctx.stop());
        }
    }
}

impl Actor for Channel {
    type Context = Context<Self>;
}

impl Handler<Command<Attach>> for Channel {
    type Result = ();

    fn handle(&mut self, command: Command<Attach>, _: &mut Self::Context) {
        if self.retired {
            return self.pass_on(command);
        }
        let Command { hub, body } = command;
        self.hubs.entry(hub.id).or_insert(hub);
        let effect = self.state.attach(body);
        self.carry_out(effect);
    }
}

impl Handler<Command<Detach>> for Channel {
    type Result = ();

    fn handle(&mut self, command: Command<Detach>, _: &mut Self::Context) {
        if self.retired {
            return self.pass_on(command);
        }
        let Command { hub, body } = command;
        self.hubs.entry(hub.id).or_insert(hub);
        let effect = self.state.detach(body);
        self.carry_out(effect);
    }
}

impl Handler<Command<Reseat>> for Channel {
    type Result = ();

    fn handle(&mut self, command: Command<Reseat>, _: &mut Self::Context) {
        if self.retired {
            return self.pass_on(command);
        }
        let Command { hub, body } = command;
        self.hubs.entry(hub.id).or_insert(hub);
        let effect = self.state.reseat(body);
        self.carry_out(effect);
    }
}

impl Handler<Command<Publish>> for Channel {
    type Result = ();

    fn handle(&mut self, command: Command<Publish>, _: &mut Self::Context) {
        if self.retired {
            return self.pass_on(command);
        }
        let Command { hub, body } = command;
        let Publish {
            connection,
            message,
        } = body;
        let hub = self.hubs.entry(hub.id).or_insert(hub).id;
        let effect = if self.is_congested() {
            let answer = Answer::PublishRefused { fault: Fault::Busy };
            Effect::Answer {
                hub,
                connection,
                answer,
            }
        } else {
            self.state
                .publish(self.worker.broker.clock.now(), connection, hub, message)
        };
        self.carry_out(effect);
    }
}

impl Handler<Leave> for Channel {
    type Result = ();

    fn handle(&mut self, Leave(connection): Leave, _: &mut Self::Context) {
        if self.retired {
            return self.pass_on(Leave(connection));
        }
        self.state.forget(connection);
    }
}
