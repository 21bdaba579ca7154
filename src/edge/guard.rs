//! Refuses WebSocket frames and messages by what their headers declare, before anything is buffered.
//!
//! actix-ws compares a frame with its limit only after the whole frame is in memory, and checks the
//! length of control frames just as late, so a client that declares 4 GiB costs that memory; a message
//! of a million one-byte fragments costs forty times its size (docs/architecture.md §3, docs/dependencies.md §0
//! facts 1 and 2). The guard stands before that decoder and reads frame headers only. While a message is not whole, the
//! account of its client pays for it.
//!
//! Not here: masking, reserved bits, opcodes, UTF-8, the 125 bytes of control frames. The decoder
//! checks those; the guard only keeps in step with it.

use std::{
    cell::Cell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use actix_web::{FromRequest as _, HttpRequest, dev, error::PayloadError, web};
use bytes::{Bytes, BytesMut};
use futures_util::Stream;

use crate::{
    actors::accounts::{Account, Charge, Full, Kind},
    edge::{portions::Portions, whole::WholeFrames},
    limits::{INBOUND_FREE, INBOUND_WHOLE},
};

/// What a client declared that this server does not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// One frame, or all fragments of one message together, exceed the message limit.
    #[error("the message is too big")]
    TooBig,
    /// One message in more fragments than the limit.
    #[error("the message has too many fragments")]
    TooManyFragments,
    #[error("no memory for the message: {0}")]
    NoMemory(Full),
}

/// Tells the connection, once the guarded stream has ended, whether the guard ended it.
#[derive(Clone, Debug, Default)]
pub struct Verdict(Rc<Cell<Option<Violation>>>);

impl Verdict {
    /// `None` while everything was acceptable.
    pub fn violation(&self) -> Option<Violation> {
        self.0.get()
    }
}

/// What one message may cost.
#[derive(Clone, Copy, Debug)]
pub struct MessageLimits {
    /// Payload bytes of one message, all its fragments together; also of one control frame.
    pub max_message_bytes: usize,
    /// Frames of one message.
    pub max_fragments: usize,
}

/// Puts the guard in front of the body of an upgrade request: hand the result to `actix_ws::handle`. `account` pays for
/// messages that are not whole yet.
///
/// # Errors
/// None in practice; the signature is that of the extractor which makes a `web::Payload`.
pub async fn guard_payload(
    request: &HttpRequest,
    payload: web::Payload,
    limits: MessageLimits,
    account: Option<Account>,
) -> Result<(web::Payload, Verdict), actix_web::Error> {
    let verdict = Verdict::default();
    let portions = Portions::new(payload.into_inner());
    let guard = FrameGuard::new(portions, limits, account, verdict.clone());
    let mut guarded: dev::Payload = dev::Payload::Stream { payload: Box::pin(WholeFrames::new(guard)) };
    // The only public way to turn a stream into a `web::Payload` is to extract it again.
    let payload = web::Payload::from_request(request, &mut guarded).await?;
    Ok((payload, verdict))
}

/// The raw bytes of one client, unchanged, up to the first frame that is refused; then the end.
///
/// How the bytes are cut into chunks may change: the header of a frame is passed on whole, so that
/// nothing of a refused frame gets through.
pub struct FrameGuard<S> {
    inner: S,
    scan: HeaderScan,
    /// None where nobody pays, as in tests.
    account: Option<Account>,
    /// For the message that is not whole yet.
    charge: Option<Charge>,
    verdict: Verdict,
    ended: bool,
}

impl<S> FrameGuard<S> {
    pub fn new(inner: S, limits: MessageLimits, account: Option<Account>, verdict: Verdict) -> Self {
        Self { inner, scan: HeaderScan::new(limits), account, charge: None, verdict, ended: false }
    }

    /// Pays for what the decoder is about to hold: all that the message has declared. What is whole by now, or small, costs
    /// nothing.
    fn pay(&mut self) -> Result<(), Full> {
        let Some(account) = &self.account else { return Ok(()) };
        let bytes = self.scan.unfinished();
        if bytes <= INBOUND_FREE {
            self.charge = None;
            return Ok(());
        }
        match &mut self.charge {
            Some(charge) => charge.set(bytes),
            none => account.charge(Kind::Inbound, bytes).map(|charge| *none = Some(charge)),
        }
    }
}

impl<S> Stream for FrameGuard<S>
where
    S: Stream<Item = Result<Bytes, PayloadError>> + Unpin,
{
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        // Goes round only while chunks hold nothing but the start of a header, at most nine bytes.
        while !this.ended {
            let passed = match ready!(Pin::new(&mut this.inner).poll_next(cx)) {
                Some(Ok(chunk)) => {
                    let (mut passed, mut violation) = this.scan.admit(chunk);
                    // What breaks a limit is not held, so nobody pays for what it declares.
                    if violation.is_none()
                        && let Err(full) = this.pay()
                    {
                        (passed, violation) = (Bytes::new(), Some(Violation::NoMemory(full)));
                    }
                    this.ended = violation.is_some();
                    this.verdict.0.set(violation);
                    passed
                }
                // A transport that fails ends the stream like one that is closed: upon an error actix-ws
                // would throw away what it read before and has not decoded yet, and the last message
                // of a page that is closed (`leave`) comes right before the end.
                Some(Err(_)) | None => {
                    this.ended = true;
                    this.scan.take_carried()
                }
            };
            if !passed.is_empty() {
                return Poll::Ready(Some(Ok(passed)));
            }
        }
        Poll::Ready(None)
    }
}

/// Where in the sequence of frames the client is. Pure: bytes in, admitted bytes out.
struct HeaderScan {
    limits: MessageLimits,
    /// The start of a header whose end has not come yet; shorter than ten bytes.
    carried: BytesMut,
    /// Bytes that still belong to the frame whose header was read last: masking key and payload.
    frame_rest: u64,
    /// Of the message that is being sent: frames so far, and their payload bytes.
    fragments: usize,
    message_bytes: u64,
    /// The same bytes and those of the frame whose header was read last, its message's last one or a control frame.
    declared: u64,
}

impl HeaderScan {
    fn new(limits: MessageLimits) -> Self {
        Self { limits, carried: BytesMut::new(), frame_rest: 0, fragments: 0, message_bytes: 0, declared: 0 }
    }

    /// The part of `carried + chunk` that may pass, and why nothing may follow.
    fn admit(&mut self, chunk: Bytes) -> (Bytes, Option<Violation>) {
        let mut bytes = self.prepend_carried(chunk);
        let mut at = 0;
        loop {
            let step = self.frame_rest.min((bytes.len() - at) as u64);
            self.frame_rest -= step;
            at += step as usize;
            if at == bytes.len() {
                return (bytes, None);
            }
            let Some(head) = FrameHead::read(&bytes[at..]) else {
                // A copy: a slice would keep the whole read buffer alive for a few bytes.
                self.carried.extend_from_slice(&bytes[at..]);
                bytes.truncate(at);
                return (bytes, None);
            };
            if let Err(violation) = self.count(&head) {
                bytes.truncate(at);
                return (bytes, Some(violation));
            }
            at += head.head_bytes;
            self.frame_rest = head.rest_bytes();
        }
    }

    /// Payload bytes, as declared, of what has begun and is not whole.
    fn unfinished(&self) -> usize {
        let bytes = if self.frame_rest > 0 { self.declared } else { self.message_bytes };
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    fn prepend_carried(&mut self, chunk: Bytes) -> Bytes {
        if self.carried.is_empty() {
            return chunk;
        }
        self.carried.extend_from_slice(&chunk);
        self.take_carried()
    }

    fn take_carried(&mut self) -> Bytes {
        self.carried.split().freeze()
    }

    fn count(&mut self, head: &FrameHead) -> Result<(), Violation> {
        let most = self.limits.max_message_bytes as u64;
        if head.is_control {
            // Not part of the message around it, yet buffered whole by the decoder.
            self.declared = self.message_bytes.saturating_add(head.payload_bytes);
            return if head.payload_bytes > most { Err(Violation::TooBig) } else { Ok(()) };
        }
        self.message_bytes = self.message_bytes.saturating_add(head.payload_bytes);
        self.fragments = self.fragments.saturating_add(1);
        self.declared = self.message_bytes;
        if self.message_bytes > most {
            return Err(Violation::TooBig);
        }
        if self.fragments > self.limits.max_fragments {
            return Err(Violation::TooManyFragments);
        }
        if head.is_final {
            self.message_bytes = 0;
            self.fragments = 0;
        }
        Ok(())
    }
}

/// The part of a frame header (RFC 6455 §5.2) that matters here.
pub(super) struct FrameHead {
    is_final: bool,
    is_control: bool,
    /// The beginning or a part of a message, without reserved bits.
    is_data: bool,
    /// Of a message that has more than this frame.
    is_fragment: bool,
    is_masked: bool,
    payload_bytes: u64,
    /// Length of the header without the masking key.
    head_bytes: usize,
}

impl FrameHead {
    /// `None` when `bytes` ends inside the header.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (&[first, second], rest) = bytes.split_first_chunk()?;
        let (payload_bytes, head_bytes) = match second & 0x7F {
            126 => (u16::from_be_bytes(*rest.first_chunk()?).into(), 4),
            127 => (u64::from_be_bytes(*rest.first_chunk()?), 10),
            short => (short.into(), 2),
        };
        Some(Self {
            is_final: first & 0x80 != 0,
            is_control: first & 0x08 != 0,
            is_data: first & 0x7F <= 2,
            is_fragment: first & 0x0F == 0 || first & 0x80 == 0,
            is_masked: second & 0x80 != 0,
            payload_bytes,
            head_bytes,
        })
    }

    /// Header, masking key and payload.
    pub(super) fn frame_bytes(&self) -> usize {
        usize::try_from(self.rest_bytes()).unwrap_or(usize::MAX).saturating_add(self.head_bytes)
    }

    /// Whether the decoder gets it only when it is whole: what may be held beside the chunk that it came with. What the decoder
    /// refuses by its header is refused at once.
    pub(super) const fn is_to_be_whole(&self) -> bool {
        self.is_data && self.is_masked && (self.is_fragment || self.payload_bytes > INBOUND_WHOLE)
    }

    fn rest_bytes(&self) -> u64 {
        let mask_bytes = if self.is_masked { 4 } else { 0 };
        // Cannot overflow: `count` has refused whatever exceeds the message limit.
        self.payload_bytes.saturating_add(mask_bytes)
    }
}

#[cfg(test)]
mod tests;
