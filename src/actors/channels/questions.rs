//! What others ask a channel and wait for: HTTP requests, mostly. They ask by [`Broker::publish`], [`Broker::history`]
//! and the like, which find the channel in charge.

use std::{convert::identity, sync::Arc, task::Poll};

use actix::{
    Addr, AsyncContext as _, Context, Handler, Message, ResponseFuture,
    dev::{MessageResponse, OneshotSender, ToEnvelope},
};
use tokio::sync::oneshot;

use crate::{
    actors::{
        broker::Broker,
        channels::{channel::Channel, commit_queue::Asker, shared::Publishing},
    },
    core::{
        command::Publish,
        dedupe::Published,
        history::{Page, Query},
        message::{Entry, EntryId},
        objects::Snapshot,
        occupancy::Occupancy,
        operation::{Latest, MessageRef},
        presence::{MemberList, MembersPage, MembersQuery},
        replay::Later,
        stats::Source,
        summaries::Annotated,
        summary::Digest,
    },
    error::Fault,
    ids::{ChannelName, ClientId},
    log::{AnnotatedRead, MessageRead, PageRead},
    store::StoreError,
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

/// A message as it is.
#[derive(Message)]
#[rtype(result = "Result<Latest, Fault>")]
pub(in crate::actors) struct Newest(pub MessageRef);

/// What the annotations of a message come to, or what one client has a part in.
#[derive(Message)]
#[rtype(result = "Result<Digest, Fault>")]
pub(in crate::actors) struct SummaryOf(MessageRef, Option<ClientId>);

/// The objects as they are. `is_read`: as a log that nodes share had them when it was asked.
#[derive(Message)]
#[rtype(result = "Result<ObjectsFound, Fault>")]
pub(in crate::actors) struct ObjectsNow {
    id: Option<EntryId>,
    is_read: bool,
}

/// The objects, and what was published by the id that was asked for, if that was lately.
pub struct ObjectsFound {
    pub objects: Arc<Snapshot>,
    pub published: Option<Arc<Entry>>,
}

/// Some of those present.
#[derive(Message)]
#[rtype(result = "Result<MembersPage, Fault>")]
pub(in crate::actors) struct Present(pub MembersQuery);

/// All of those present.
#[derive(Message)]
#[rtype(result = "Result<Arc<MemberList>, Fault>")]
pub(in crate::actors) struct Everybody;

/// How many use the channel.
#[derive(Message)]
#[rtype(result = "Result<Occupancy, Fault>")]
pub(in crate::actors) struct Occupied;

/// What a channel lists for whoever is attached.
pub trait Listed: Sized + 'static {
    /// As it is now; none: that cannot be told.
    fn now(channel: Addr<Channel>) -> impl Future<Output = Option<Arc<Self>>>;
}

impl Listed for MemberList {
    async fn now(channel: Addr<Channel>) -> Option<Arc<Self>> {
        ask(channel, Everybody).await.ok()
    }
}

impl Listed for Snapshot {
    async fn now(channel: Addr<Channel>) -> Option<Arc<Self>> {
        ask(channel, ObjectsNow { id: None, is_read: true }).await.ok().map(|found| found.objects)
    }
}

/// The answer to a question.
pub(in crate::actors) enum Answered<T> {
    Now(Result<T, Fault>),
    /// By a task: that costs more than most answers.
    Later(ResponseFuture<Result<T, Fault>>),
}

impl<M, T> MessageResponse<Channel, M> for Answered<T>
where
    M: Message<Result = Result<T, Fault>>,
    T: 'static,
{
    fn handle(self, ctx: &mut Context<Channel>, asker: Option<OneshotSender<M::Result>>) {
        match self {
            Self::Now(answer) => MessageResponse::<Channel, M>::handle(answer, ctx, asker),
            Self::Later(answer) => MessageResponse::<Channel, M>::handle(answer, ctx, asker),
        }
    }
}

impl Channel {
    /// A retired channel has the one in charge answer.
    fn pass_on_question<M, T>(&self, question: M) -> Answered<T>
    where
        M: Message<Result = Result<T, Fault>> + Send + 'static,
        T: Send + 'static,
        Self: Handler<M>,
        Context<Self>: ToEnvelope<Self, M>,
    {
        let successor = self.successor();
        Answered::Later(Box::pin(async move { ask(successor?, question).await }))
    }

    /// What was published, when the log has it.
    fn once_kept(&mut self, publishing: Publishing) -> Answered<Published> {
        match publishing {
            Publishing::Kept(published) if self.commit_queue.is_empty() => Answered::Now(Ok(published)),
            _ => {
                let (asker, outcome) = oneshot::channel();
                self.tell_once_kept(asker, publishing);
                answered(outcome, identity)
            }
        }
    }

    /// The same for whoever waits already.
    pub(super) fn tell_once_kept(&mut self, asker: oneshot::Sender<Result<Published, Fault>>, publishing: Publishing) {
        match (publishing, &mut self.shared) {
            // The request may have ended.
            (Publishing::Kept(published), _) if self.commit_queue.is_empty() => drop(asker.send(Ok(published))),
            (Publishing::Kept(published), _) => self.commit_queue.outcome(Asker::Request(asker), published),
            (Publishing::Asked(ticket), Some(shared)) => shared.answer_to(ticket, Asker::Request(asker)),
            (Publishing::Asked(_), None) => {}
        }
    }
}

/// The answer that is to come; an actor that dies meanwhile gives none.
fn answered<T: 'static, R>(
    answer: oneshot::Receiver<Result<T, Fault>>,
    of: impl FnOnce(T) -> R + 'static,
) -> Answered<R> {
    Answered::Later(Box::pin(async move { answer.await.unwrap_or(Err(Fault::Busy)).map(of) }))
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

/// All of these open a channel that has no actor, and fail when there is no room for one; but what is only published needs none
/// where nodes share the log (`asleep`).
impl Broker {
    async fn ask<M, T>(self: &Arc<Self>, name: &ChannelName, question: M) -> Result<T, Fault>
    where
        M: Message<Result = Result<T, Fault>> + Send + 'static,
        T: Send + 'static,
        Channel: Handler<M>,
        Context<Channel>: ToEnvelope<Channel, M>,
    {
        let answer = ask(self.directory.channel(name, self, None)?, question);
        match self.log.shared() {
            None => answer.await,
            // A channel may have to be opened first, by a log that is away.
            Some(log) => tokio::time::timeout(log.deadline(), answer).await.unwrap_or(Err(Fault::Busy)),
        }
    }

    /// Publishes, and waits until it is in the log.
    ///
    /// # Errors
    /// Why it is not.
    pub async fn publish(self: &Arc<Self>, name: &ChannelName, publish: Publish) -> Result<Published, Fault> {
        match self.asleep(name, &publish) {
            Some(log) => self.append_asleep(&log, name, publish).await,
            // What it says of a publish holds, so it is waited for.
            None => ask(self.directory.channel(name, self, None)?, Append(publish)).await,
        }
    }

    /// Publishes these in their order, as far as that goes at once: how many are in the log ([`AppendAll`]).
    ///
    /// # Errors
    /// Why not even the first is.
    pub async fn publish_all(self: &Arc<Self>, name: &ChannelName, all: Vec<Publish>) -> Result<usize, Fault> {
        ask(self.directory.channel(name, self, None)?, AppendAll(all)).await
    }

    /// A page of the past.
    ///
    /// # Errors
    /// [`Fault::UntilAttachTooOld`], or it cannot be read.
    pub async fn history(self: &Arc<Self>, name: &ChannelName, query: Query) -> Result<Page, Fault> {
        self.ask(name, Past(query)).await
    }

    /// A message as it is, with all that was appended to it.
    ///
    /// # Errors
    /// [`Fault::NotFound`], or it cannot be read.
    pub async fn message(self: &Arc<Self>, name: &ChannelName, target: MessageRef) -> Result<Latest, Fault> {
        self.ask(name, Newest(target)).await
    }

    /// What the annotations of a message come to, or what one client has a part in.
    ///
    /// # Errors
    /// [`Fault::NotFound`], or it cannot be read.
    pub async fn summary(
        self: &Arc<Self>,
        name: &ChannelName,
        message: MessageRef,
        client: Option<ClientId>,
    ) -> Result<Digest, Fault> {
        self.ask(name, SummaryOf(message, client)).await
    }

    /// The objects of a channel as they are, and what was done to them lately by this id.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn objects(self: &Arc<Self>, name: &ChannelName, id: Option<EntryId>) -> Result<ObjectsFound, Fault> {
        self.ask(name, ObjectsNow { id, is_read: false }).await
    }

    /// A page of those present.
    ///
    /// # Errors
    /// The channel cannot answer.
    pub async fn members(self: &Arc<Self>, name: &ChannelName, query: MembersQuery) -> Result<MembersPage, Fault> {
        self.ask(name, Present(query)).await
    }

    /// How many use the channel.
    ///
    /// # Errors
    /// The channel cannot answer.
    pub async fn occupancy(self: &Arc<Self>, name: &ChannelName) -> Result<Occupancy, Fault> {
        self.ask(name, Occupied).await
    }
}

impl Handler<Append> for Channel {
    type Result = Answered<Published>;

    fn handle(&mut self, question: Append, ctx: &mut Self::Context) -> Self::Result {
        if self.retired {
            return self.pass_on_question(question);
        }
        if self.waits_in_line(&question.0) {
            let (asker, outcome) = oneshot::channel();
            self.operate(Source::Rest, question.0, Some(Asker::Request(asker)), ctx);
            return answered(outcome, identity);
        }
        match self.publish(Source::Rest, question.0, ctx) {
            Ok(publishing) => self.once_kept(publishing),
            Err(fault) => Answered::Now(Err(fault)),
        }
    }
}

impl Handler<AppendAll> for Channel {
    type Result = Answered<usize>;

    fn handle(&mut self, question: AppendAll, ctx: &mut Self::Context) -> Self::Result {
        if self.retired {
            return self.pass_on_question(question);
        }
        let (mut count, mut refused) = (0, Fault::Busy);
        for publish in question.0 {
            let publishing = match self.publish(Source::Rest, publish, ctx) {
                Ok(publishing) => publishing,
                Err(fault) => {
                    refused = fault;
                    break;
                }
            };
            count += 1;
            if !self.commit_queue.is_empty() || matches!(publishing, Publishing::Asked(_)) {
                let (asker, kept) = oneshot::channel();
                self.tell_once_kept(asker, publishing);
                return answered(kept, move |_| count);
            }
        }
        Answered::Now(if count > 0 { Ok(count) } else { Err(refused) })
    }
}

impl Handler<Past> for Channel {
    type Result = Answered<Page>;

    fn handle(&mut self, Past(query): Past, ctx: &mut Self::Context) -> Self::Result {
        if self.retired {
            return self.pass_on_question(Past(query));
        }
        self.note_opened(ctx);
        let (fixtures, asked) = (self.fixtures.clone(), query.clone());
        let finish = move |read: PageRead| match read {
            Ok(Some(page)) => Ok(match fixtures {
                Some(oldest) => asked.page_behind(&oldest, page),
                None => page,
            }),
            Ok(None) => Err(Fault::UntilAttachTooOld),
            Err(error) => Err(unreadable("the past of a channel", &error)),
        };
        by_log(|later| self.log.page(&query, later), finish)
    }
}

/// What a log answers to `ask`, at once or later, as `finish` tells it.
fn by_log<T: Send + 'static, R: 'static>(
    ask: impl FnOnce(Later<'_, T>) -> Poll<T>,
    finish: impl FnOnce(T) -> Result<R, Fault> + 'static,
) -> Answered<R> {
    let mut pending = None;
    let mut later = || -> Box<dyn FnOnce(T) + Send> {
        let (asker, read) = oneshot::channel();
        pending = Some(read);
        // The request may have ended.
        Box::new(move |read| drop(asker.send(read)))
    };
    let read = ask(&mut later);
    match (read, pending) {
        (Poll::Ready(read), _) => Answered::Now(finish(read)),
        (Poll::Pending, Some(read)) => {
            Answered::Later(Box::pin(async move { read.await.map_or(Err(Fault::Internal), finish) }))
        }
        (Poll::Pending, None) => Answered::Now(Err(Fault::Internal)),
    }
}

/// What a request is told; why is for the operator.
fn unreadable(what: &str, error: &StoreError) -> Fault {
    tracing::error!(%error, "{what} cannot be read");
    error.to_fault()
}

impl Handler<Newest> for Channel {
    type Result = Answered<Latest>;

    fn handle(&mut self, Newest(target): Newest, ctx: &mut Self::Context) -> Self::Result {
        if self.retired {
            return self.pass_on_question(Newest(target));
        }
        self.note_opened(ctx);
        let finish = |read: MessageRead| match read {
            Ok(Some(latest)) => Ok(latest.whole()),
            Ok(None) => Err(Fault::NotFound { what: "a message with this serial" }),
            Err(error) => Err(unreadable("a message", &error)),
        };
        by_log(|later| self.log.newest(target, later), finish)
    }
}

impl Handler<SummaryOf> for Channel {
    type Result = Answered<Digest>;

    fn handle(&mut self, question: SummaryOf, ctx: &mut Self::Context) -> Self::Result {
        if self.retired {
            return self.pass_on_question(question);
        }
        self.note_opened(ctx);
        let SummaryOf(message, client) = question;
        let digest = move |annotated: &Annotated| match &client {
            Some(client) => annotated.summary.digest_for(client),
            None => annotated.summary.digest(),
        };
        if let Some(known) = self.state.annotated(message) {
            return Answered::Now(Ok(digest(known)));
        }
        let finish = move |read: AnnotatedRead| match read {
            Ok(read) => read.as_ref().map(&digest).ok_or(Fault::NotFound { what: "a message with this serial" }),
            Err(error) => Err(unreadable("the annotations of a message", &error)),
        };
        by_log(|later| self.log.annotated(message, later), finish)
    }
}

impl Handler<ObjectsNow> for Channel {
    type Result = Answered<ObjectsFound>;

    fn handle(&mut self, question: ObjectsNow, ctx: &mut Self::Context) -> Self::Result {
        if self.retired {
            return self.pass_on_question(question);
        }
        self.note_opened(ctx);
        let ObjectsNow { id, is_read } = question;
        let is_known = self.state.knows_objects();
        if let Some(objects) = self.state.objects().filter(|_| is_read || self.shared.is_none()) {
            let of_id = |id: EntryId| self.log.recent().into_iter().rev().find(|entry| entry.id == id);
            let published = id.and_then(of_id).filter(|entry| !entry.objects().is_empty());
            return Answered::Now(Ok(ObjectsFound { objects, published }));
        }
        let read = if is_known { self.look_at_log(ctx) } else { self.read_objects_for_requests(ctx) };
        let this = ctx.address();
        Answered::Later(Box::pin(async move {
            read.await.unwrap_or(Err(Fault::Busy))?;
            ask(this, ObjectsNow { id, is_read: true }).await
        }))
    }
}

impl Handler<Present> for Channel {
    type Result = Answered<MembersPage>;

    fn handle(&mut self, question: Present, ctx: &mut Self::Context) -> Self::Result {
        if self.retired {
            return self.pass_on_question(question);
        }
        self.note_opened(ctx);
        Answered::Now(Ok(self.state.members().page(&question.0)))
    }
}

impl Handler<Everybody> for Channel {
    type Result = Answered<Arc<MemberList>>;

    fn handle(&mut self, question: Everybody, _: &mut Self::Context) -> Self::Result {
        if self.retired {
            return self.pass_on_question(question);
        }
        Answered::Now(Ok(self.state.members().all()))
    }
}

impl Handler<Occupied> for Channel {
    type Result = Answered<Occupancy>;

    fn handle(&mut self, question: Occupied, ctx: &mut Self::Context) -> Self::Result {
        if self.retired {
            return self.pass_on_question(question);
        }
        self.note_opened(ctx);
        Answered::Now(Ok(self.state.occupancy()))
    }
}
