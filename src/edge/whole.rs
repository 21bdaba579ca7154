//! Hands a large frame of a WebSocket to the decoder as one piece, and small ones as they come.
//!
//! actix-ws copies what it cannot decode yet into a buffer that doubles, and holds on to it until the next bytes come: each client
//! that has sent one message of 60 KB kept 128 KiB for as long as it was there, and each fragment the bytes that came with it. A
//! piece of its own is as long as the account has paid for ([`crate::edge::guard`]), and gone with its message.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use actix_web::error::PayloadError;
use bytes::Bytes;
use futures_util::Stream;

use crate::edge::guard::FrameHead;

/// `inner` passes headers whole, and only such frames as may be held.
pub struct WholeFrames<S> {
    inner: S,
    /// Has come and was not looked at.
    rest: Bytes,
    /// Bytes of the frame that is passing, or is collected, which have not come.
    missing: usize,
    /// The large frame that is not whole.
    collected: Option<Vec<u8>>,
    /// The decoder got something since it was last told to wait, and so to decode.
    is_fed: bool,
    /// The decoder holds the memory of a large frame until something else comes.
    is_held: bool,
}

impl<S> WholeFrames<S> {
    pub const fn new(inner: S) -> Self {
        Self { inner, rest: Bytes::new(), missing: 0, collected: None, is_fed: false, is_held: false }
    }

    /// Up to where `rest` may pass; behind it is a large frame, if anything is.
    fn pass(&mut self) -> usize {
        let mut at = 0;
        loop {
            let step = self.missing.min(self.rest.len() - at);
            self.missing -= step;
            at += step;
            if at == self.rest.len() {
                return at;
            }
            // A part of a header is the last that comes.
            let Some(head) = FrameHead::read(&self.rest[at..]) else { return self.rest.len() };
            self.missing = head.frame_bytes();
            if head.is_to_be_whole() {
                self.collected = Some(Vec::with_capacity(self.missing));
                return at;
            }
        }
    }
}

impl<S> Stream for WholeFrames<S>
where
    S: Stream<Item = Result<Bytes, PayloadError>> + Unpin,
{
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            let is_whole = this.collected.is_some() && this.missing == 0;
            if this.is_fed && (is_whole || this.is_held) {
                this.is_fed = false;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if std::mem::take(&mut this.is_held) {
                return Poll::Ready(Some(Ok(Bytes::new())));
            }
            if is_whole && let Some(frame) = this.collected.take() {
                (this.is_fed, this.is_held) = (true, true);
                return Poll::Ready(Some(Ok(frame.into())));
            }
            if this.rest.is_empty() {
                let next = Pin::new(&mut this.inner).poll_next(cx);
                this.is_fed &= next.is_ready();
                match ready!(next) {
                    Some(Ok(chunk)) => this.rest = chunk,
                    end => return Poll::Ready(this.collected.take().map(|part| Ok(part.into())).or(end)),
                }
            }
            if let Some(frame) = &mut this.collected {
                let part = this.rest.split_to(this.missing.min(this.rest.len()));
                this.missing -= part.len();
                frame.extend_from_slice(&part);
                continue;
            }
            let passed = this.pass();
            if passed > 0 {
                this.is_fed = true;
                return Poll::Ready(Some(Ok(this.rest.split_to(passed))));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::task::Waker;

    use futures_util::{StreamExt as _, stream};
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::limits::INBOUND_WHOLE;

    const TEXT: u8 = 0x81;
    const BEGUN: u8 = 0x01;
    const PING: u8 = 0x89;

    /// Of a client.
    fn frame(first: u8, bytes: usize) -> Vec<u8> {
        let head = match bytes {
            0..126 => vec![first, 0x80 | bytes as u8],
            _ => [&[first, 0x80 | 126][..], &(bytes as u16).to_be_bytes()].concat(),
        };
        [&head[..], &[0; 4], &vec![b'x'; bytes]].concat()
    }

    /// What the decoder gets of `bytes`, which come in portions of `size` with a whole header each; the pieces between two pauses
    /// stand together.
    fn pieces(frames: &[Vec<u8>], size: usize) -> Vec<Vec<u8>> {
        let chunks: Vec<_> = frames
            .iter()
            .flat_map(|frame| {
                let (head, rest) = frame.split_at(frame.len().min(8));
                std::iter::once(head).chain(rest.chunks(size))
            })
            .map(|chunk| Ok(Bytes::copy_from_slice(chunk)))
            .collect();
        let mut whole = WholeFrames::new(stream::iter(chunks));
        let mut cx = Context::from_waker(Waker::noop());
        let mut pieces = vec![Vec::new()];
        loop {
            match whole.poll_next_unpin(&mut cx) {
                Poll::Pending => pieces.push(Vec::new()),
                Poll::Ready(Some(piece)) => pieces.last_mut().unwrap().extend(piece.unwrap()),
                Poll::Ready(None) => return pieces,
            }
        }
    }

    #[test]
    fn a_large_frame_and_a_fragment_come_alone() {
        let large = frame(TEXT, INBOUND_WHOLE as usize + 1);
        let (small, fragment) = (frame(TEXT, 100), frame(BEGUN, 10));
        let sent = [small.clone(), small.clone(), large.clone(), fragment.clone(), small.clone()];
        let both = [small.clone(), small.clone()].concat();
        let expected = [both, large, fragment, small];
        for size in [1, 100, 100_000] {
            let pieces: Vec<_> = pieces(&sent, size).into_iter().filter(|piece| !piece.is_empty()).collect();
            assert_eq!(pieces, expected, "{size}");
        }
    }

    /// Else the decoder would hold on to what it has got.
    #[test]
    fn something_empty_comes_behind_a_large_frame() {
        let mut whole = WholeFrames::new(stream::iter([Ok(Bytes::from(frame(TEXT, 60_000)))]));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(matches!(whole.poll_next_unpin(&mut cx), Poll::Ready(Some(Ok(frame))) if frame.len() > 60_000));
        assert!(whole.poll_next_unpin(&mut cx).is_pending());
        assert!(matches!(whole.poll_next_unpin(&mut cx), Poll::Ready(Some(Ok(empty))) if empty.is_empty()));
        assert!(matches!(whole.poll_next_unpin(&mut cx), Poll::Ready(None)));
    }

    proptest! {
        #[test]
        fn nothing_is_lost(sizes in vec((0..4_usize, 0..9_000_usize), 0..8), size in 1..20_000_usize, cut in 0..5_usize) {
            let kinds = [TEXT, BEGUN, PING, 0x80];
            let mut frames: Vec<_> = sizes.into_iter().map(|(kind, bytes)| frame(kinds[kind], bytes)).collect();
            // The client is gone before the last one has come.
            if let Some(last) = frames.last_mut() {
                last.truncate(last.len() - cut.min(last.len() - 1));
            }
            prop_assert_eq!(pieces(&frames, size).concat(), frames.concat());
        }
    }
}
