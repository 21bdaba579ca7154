//! What others ask a channel and wait for: HTTP requests, mostly. They ask by [`Broker::publish`], [`Broker::history`]
//! and the like, which find the channel in charge.

use std::sync::Arc;

use actix::{Addr, Context, Handler, Message, ResponseFuture, dev::ToEnvelope};

use tokio::sync::oneshot;

use crate::{
    actors::{broker::Broker, channels::channel::Channel},
    core::{
        command::{Effect, Publish},
        dedupe::Published,
        history::{Page, Query},
        occupancy::Occupancy,
        presence::Member,
        window::Gap,
    },
    error::Fault,
    ids::ChannelName,
};

/// Publishes, and waits until it is in the log.
#[derive(Message)]
#[rtype(result = "Result<Published, Fault>")]
pub(in crate::actors) struct Append(pub Publish);

/// Publishes one after the other, as far as that goes without waiting for the disk twice: how many are in the log. Fewer
/// than all: the next one was refused, or is to be asked for anew. Those that came together are delivered together.
#[derive(Message)]
#[rtype(result = "Result<usize, Fault>")]
pub(in crate::actors) struct AppendAll(pub Vec<Publish>);

/// A page of the past.
#[derive(Message)]
#[rtype(result = "Result<Page, Fault>")]
pub(in crate::actors) struct Past(pub Query);

/// Everybody present, by client id.
#[derive(Message)]
#[rtype(result = "Result<Vec<Arc<Member>>, Fault>")]
pub(in crate::actors) struct Present;

/// How many use the channel.
#[derive(Message)]
#[rtype(result = "Result<Occupancy, Fault>")]
pub(in crate::actors) struct Occupied;

type Answered<T> = ResponseFuture<Result<T, Fault>>;

impl Channel {
    /// The answer; a retired channel has the one in charge give it.
    fn reply<M, T>(&mut self, question: M, answer: impl FnOnce(&mut Self, M) -> Result<T, Fault>) -> Answered<T>
    where
        M: Message<Result = Result<T, Fault>> + Send + 'static,
        T: Send + 'static,
        Self: Handler<M>,
        Context<Self>: ToEnvelope<Self, M>,
    {
        if self.retired {
            let successor = self.successor();
            return Box::pin(async move { ask(successor?, question).await });
        }
        let answer = answer(self, question);
        Box::pin(std::future::ready(answer))
    }
}

/// A channel that dies without an answer is busy.
async fn ask<M, T>(whom: Addr<Channel>, question: M) -> Result<T, Fault>
where
    M: Message<Result = Result<T, Fault>> + Send + 'static,
    T: Send + 'static,
    Channel: Handler<M>,
    Context<Channel>: ToEnvelope<Channel, M>,
{
    whom.send(question).await.unwrap_or(Err(Fault::Busy))
}

/// All of these open a channel that has no actor, and fail with [`Fault::Busy`] when there is no room for one.
impl Broker {
    /// Publishes, and waits until it is in the log.
    ///
    /// # Errors
    /// Why it is not.
    pub async fn publish(self: &Arc<Self>, name: &ChannelName, publish: Publish) -> Result<Published, Fault> {
        ask(self.directory.channel(name, self)?, Append(publish)).await
    }

    /// Publishes these in their order, as far as that goes at once: how many are in the log ([`AppendAll`]).
    ///
    /// # Errors
    /// Why not even the first is.
    pub async fn publish_all(self: &Arc<Self>, name: &ChannelName, all: Vec<Publish>) -> Result<usize, Fault> {
        ask(self.directory.channel(name, self)?, AppendAll(all)).await
    }

    /// A page of the past.
    ///
    /// # Errors
    /// [`Fault::UntilAttachTooOld`], or it cannot be read.
    pub async fn history(self: &Arc<Self>, name: &ChannelName, query: Query) -> Result<Page, Fault> {
        ask(self.directory.channel(name, self)?, Past(query)).await
    }

    /// Everybody present, by client id.
    ///
    /// # Errors
    /// The channel cannot answer.
    pub async fn members(self: &Arc<Self>, name: &ChannelName) -> Result<Vec<Arc<Member>>, Fault> {
        ask(self.directory.channel(name, self)?, Present).await
    }

    /// How many use the channel.
    ///
    /// # Errors
    /// The channel cannot answer.
    pub async fn occupancy(self: &Arc<Self>, name: &ChannelName) -> Result<Occupancy, Fault> {
        ask(self.directory.channel(name, self)?, Occupied).await
    }
}

impl Handler<Append> for Channel {
    type Result = Answered<Published>;

    fn handle(&mut self, question: Append, ctx: &mut Self::Context) -> Self::Result {
        if self.retired {
            return self.reply(question, |_, _| Err(Fault::Busy));
        }
        if self.is_congested() {
            return Box::pin(std::future::ready(Err(Fault::Busy)));
        }
        let published = match self.state.append(self.now(), question.0) {
            Ok((published, entry)) => {
                self.carry_out(entry.map(Effect::Append), ctx);
                published
            }
            Err(fault) => return Box::pin(std::future::ready(Err(fault))),
        };
        if self.commit_queue.is_empty() {
            return Box::pin(std::future::ready(Ok(published)));
        }
        let (asker, told) = oneshot::channel();
        self.commit_queue.asked(asker, published);
        // Not told: this actor has died.
        Box::pin(async move { told.await.unwrap_or(Err(Fault::Busy)) })
    }
}

impl Handler<AppendAll> for Channel {
    type Result = Answered<usize>;

    fn handle(&mut self, question: AppendAll, ctx: &mut Self::Context) -> Self::Result {
        if self.retired {
            return self.reply(question, |_, _| Err(Fault::Busy));
        }
        let mut count = 0;
        let mut refused = Fault::Busy;
        for publish in question.0 {
            if self.is_congested() {
                break;
            }
            let published = match self.state.append(self.now(), publish) {
                Ok((published, entry)) => {
                    self.carry_out(entry.map(Effect::Append), ctx);
                    published
                }
                Err(fault) => {
                    refused = fault;
                    break;
                }
            };
            count += 1;
            if !self.commit_queue.is_empty() {
                let (asker, told) = oneshot::channel();
                self.commit_queue.asked(asker, published);
                let kept = async move { told.await.unwrap_or(Err(Fault::Busy)).map(|_| count) };
                return Box::pin(kept);
            }
        }
        let answer = if count > 0 { Ok(count) } else { Err(refused) };
        Box::pin(std::future::ready(answer))
    }
}

impl Handler<Past> for Channel {
    type Result = Answered<Page>;

    fn handle(&mut self, question: Past, _: &mut Self::Context) -> Self::Result {
        self.reply(question, |channel, Past(query)| {
            // What followed the position is no longer kept, so nothing is of what came before it.
            let is_lost = |until| matches!(channel.log.after(until), Err(Gap::Expired | Gap::OtherLog));
            if query.until.is_some_and(is_lost) {
                return Err(Fault::UntilAttachTooOld);
            }
            let read = |query: &Query| channel.log.page(query);
            let page = match &channel.fixtures {
                Some(oldest) => query.page_behind(oldest, read),
                None => read(&query),
            };
            page.map_err(|error| {
                tracing::error!(%error, "the past of a channel cannot be read");
                Fault::Internal
            })
        })
    }
}

impl Handler<Present> for Channel {
    type Result = Answered<Vec<Arc<Member>>>;

    fn handle(&mut self, question: Present, _: &mut Self::Context) -> Self::Result {
        self.reply(question, |channel, Present| Ok(channel.state.members().all()))
    }
}

impl Handler<Occupied> for Channel {
    type Result = Answered<Occupancy>;

    fn handle(&mut self, question: Occupied, _: &mut Self::Context) -> Self::Result {
        self.reply(question, |channel, Occupied| Ok(channel.state.occupancy()))
    }
}
