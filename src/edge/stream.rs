//! The stream of one connection as the HTTP parser gets it: targets in ASCII ([`RequestScan`]), and nobody waits for ever.
//!
//! A request that has begun has to come: its head within [`limits::REQUEST_HEAD_TIMEOUT`], its body at a least rate, whether
//! or not a handler reads it. When it does not, the stream ends for the parser, so that a handler which waits for the body
//! answers in its own way. An answer of which nothing is taken for [`limits::ANSWER_PATIENCE`] is given up with its
//! connection. After an upgrade the WebSocket has time limits of its own.
//!
//! A head may have [`limits::HEAD_BYTES`], and is paid for beyond the first of them ([`RefusedHead`]).
//!
//! The parser reads up to 128 KiB before it looks at anything, and nobody pays for that buffer. So it gets
//! [`limits::READ_TURN`] at a time: then it has to parse what it has, and hand it on to whoever pays, and that one has to take
//! it ([`Intake`]). What is thrown away after a WebSocket has broken a rule comes at a rate.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use actix_web::rt::time::{Sleep, sleep};
use bytes::BufMut as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

use crate::{
    edge::{
        counted::PlainPlace,
        head::{self, RefusedHead},
        intake::Intake,
        scan::{RequestScan, Turn},
    },
    limits,
};

pub struct RequestStream<T> {
    inner: T,
    scan: RequestScan,
    /// Read and encoded, not yet taken: at most three times what one read brought.
    waiting: Vec<u8>,
    taken: usize,
    /// Bytes that the parser got since what it had was last taken.
    in_turn: usize,
    /// The parser was told to wait, and so to parse.
    is_parsing: bool,
    intake: Intake,
    /// Until more of what is thrown away is read.
    pause: Option<Pin<Box<Sleep>>>,
    /// For the client to send, and to take.
    request: Patience,
    answer: Patience,
    is_given_up: bool,
    place: PlainPlace,
    /// What of the head that is being read is paid for.
    paid: usize,
    refused: Option<RefusedHead>,
}

/// How long there was no progress.
#[derive(Default)]
struct Patience {
    /// Runs while the client has to do something.
    timer: Option<Pin<Box<Sleep>>>,
    /// Since it began.
    bytes: usize,
}

impl Patience {
    /// Ready when it has ended.
    fn wait(&mut self, limit: Duration, cx: &mut Context<'_>) -> Poll<()> {
        self.timer.get_or_insert_with(|| Box::pin(sleep(limit))).as_mut().poll(cx)
    }

    fn end(&mut self) {
        *self = Self::default();
    }
}

impl<T> RequestStream<T> {
    /// `place` pays for it.
    pub fn new(inner: T, place: PlainPlace) -> Self {
        let (request, answer) = (Patience::default(), Patience::default());
        Self {
            inner,
            scan: RequestScan::new(),
            waiting: Vec::new(),
            taken: 0,
            in_turn: 0,
            is_parsing: false,
            intake: Intake::default(),
            pause: None,
            request,
            answer,
            is_given_up: false,
            place,
            paid: 0,
            refused: None,
        }
    }

    pub const fn inner(&self) -> &T {
        &self.inner
    }

    /// For whoever takes what the parser makes of it.
    pub fn intake(&self) -> Intake {
        self.intake.clone()
    }

    /// The parser has got its turn. Ready when it may have another one.
    fn await_taken(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.is_taken() {
            self.intake.wait(cx.waker());
            return Poll::Pending;
        }
        if self.scan.turn() == Turn::Upgraded && self.intake.is_gone() {
            let pause = self.pause.get_or_insert_with(|| Box::pin(sleep(limits::DISCARD_PAUSE)));
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        Poll::Ready(())
    }

    /// Whether whoever is to take what the parser got has taken it. True once for each time that it has asked for more.
    fn is_taken(&self) -> bool {
        let heads = self.scan.heads();
        match self.scan.turn() {
            // The parser has handed on all but a part of a head.
            Turn::Free | Turn::Head(_) => self.intake.served() >= heads,
            Turn::Body(_) | Turn::Upgraded => self.intake.has_taken(heads),
        }
    }

    /// Whether the head that is being read is no longer than it may be, and paid for; if not, it is refused.
    fn takes_head(&mut self) -> bool {
        let due = head::due(self.scan.head());
        self.refused = if self.scan.is_too_long() {
            Some(RefusedHead::too_long())
        // What was paid for a whole head stays until the next one: its request is being answered.
        } else if due != self.paid && matches!(self.scan.turn(), Turn::Head(_)) {
            self.paid = due;
            self.place.pay_beside(due).err().map(RefusedHead::no_room)
        } else {
            None
        };
        self.refused.is_none()
    }

    /// Nothing has come. Ready when the client is too slow.
    fn await_request(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.scan.turn() {
            Turn::Free | Turn::Upgraded => Poll::Pending,
            Turn::Head(_) => self.request.wait(limits::REQUEST_HEAD_TIMEOUT, cx),
            Turn::Body(_) => self.request.wait(limits::BODY_PATIENCE, cx),
        }
    }

    /// So many bytes have come while it was `turn`.
    fn note_read(&mut self, turn: Turn, bytes: usize) {
        self.request.bytes += bytes;
        let is_enough = matches!(turn, Turn::Body(_)) && self.request.bytes >= limits::BODY_LEAST_BYTES;
        if is_enough || self.scan.turn() != turn {
            self.request.end();
        }
    }

    /// `done` is what came of writing.
    fn await_taker<R>(&mut self, done: Poll<io::Result<R>>, cx: &mut Context<'_>) -> Poll<io::Result<R>> {
        if done.is_ready() {
            self.answer.end();
        } else if self.scan.turn() != Turn::Upgraded && self.answer.wait(limits::ANSWER_PATIENCE, cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        done
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for RequestStream<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.in_turn >= limits::READ_TURN {
            if !this.is_parsing {
                this.is_parsing = true;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            ready!(this.await_taken(cx));
            (this.in_turn, this.is_parsing) = (0, false);
        }
        let before = buf.filled().len();
        let read = this.poll_inner(cx, buf);
        this.in_turn += buf.filled().len() - before;
        if read.is_pending() && this.in_turn > 0 && this.is_taken() {
            this.in_turn = 0;
        }
        read
    }
}

impl<T: AsyncRead + Unpin> RequestStream<T> {
    /// One read, of [`limits::READ_AT_ONCE`] at most: the parser makes its buffer larger whenever it is full.
    fn poll_some(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        poll_read_buf(Pin::new(&mut self.inner), cx, &mut buf.limit(limits::READ_AT_ONCE)).map_ok(drop)
    }

    fn poll_inner(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.is_given_up {
            return Poll::Ready(Ok(()));
        }
        if self.taken == self.waiting.len() {
            let before = buf.filled().len();
            let read = self.poll_some(cx, buf);
            if self.scan.turn() == Turn::Upgraded {
                // Nothing is looked at any more.
                return read;
            }
            let Poll::Ready(read) = read else {
                ready!(self.await_request(cx));
                self.is_given_up = true;
                return Poll::Ready(Ok(()));
            };
            read?;
            let (turn, came) = (self.scan.turn(), &buf.filled()[before..]);
            let (bytes, encoded) = (came.len(), self.scan.encode(came));
            self.note_read(turn, bytes);
            if !self.takes_head() {
                self.is_given_up = true;
                buf.set_filled(before);
                return Poll::Ready(Ok(()));
            }
            let Some(encoded) = encoded else {
                return Poll::Ready(Ok(()));
            };
            buf.set_filled(before);
            (self.waiting, self.taken) = (encoded, 0);
        }
        let rest = &self.waiting[self.taken..];
        let fits = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..fits]);
        self.taken += fits;
        if self.taken == self.waiting.len() {
            (self.waiting, self.taken) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for RequestStream<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.inner).poll_write(cx, bytes);
        this.await_taker(written, cx)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.inner).poll_flush(cx);
        this.await_taker(flushed, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(refused) = &mut this.refused {
            let said = refused.poll_said(&mut this.inner, cx);
            ready!(this.await_taker(said, cx))?;
        }
        let shut = Pin::new(&mut this.inner).poll_shutdown(cx);
        ready!(this.await_taker(shut, cx))?;
        match &mut this.refused {
            Some(refused) => refused.poll_heard(&mut this.inner, cx).map(Ok),
            None => Poll::Ready(Ok(())),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.inner).poll_write_vectored(cx, parts);
        this.await_taker(written, cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
        time::{advance, timeout},
    };

    use super::*;
    use crate::edge::intake::Taker;

    const POST: &[u8] = b"POST / HTTP/1.1\r\nContent-Length: 100000\r\n\r\n";

    #[tokio::test]
    async fn a_reader_with_little_room_gets_everything() {
        let sent = "GET /用户用户 HTTP/1.1\r\nHost: h\r\n\r\n";
        let mut stream = RequestStream::new(sent.as_bytes(), PlainPlace::default());
        let mut came = Vec::new();
        let mut room = [0; 5];
        loop {
            let read = stream.read(&mut room).await.unwrap();
            if read == 0 {
                break;
            }
            came.extend_from_slice(&room[..read]);
        }
        assert_eq!(
            String::from_utf8(came).unwrap(),
            "GET /%E7%94%A8%E6%88%B7%E7%94%A8%E6%88%B7 HTTP/1.1\r\nHost: h\r\n\r\n"
        );
    }

    /// findings B3: whatever is there, the parser gets so much of it before it has to parse.
    #[tokio::test]
    async fn what_is_read_in_one_turn_is_bounded() {
        let sent = vec![b'x'; 7 * limits::READ_TURN];
        let mut stream = RequestStream::new(sent.as_slice(), PlainPlace::default());
        let (mut turns, mut came, mut room) = (vec![0], 0, vec![0; 1_000]);
        while came < sent.len() {
            match poll_fn(|cx| Poll::Ready(Pin::new(&mut stream).poll_read(cx, &mut ReadBuf::new(&mut room)))).await {
                Poll::Ready(read) => {
                    read.unwrap();
                    let bytes = room.len().min(sent.len() - came);
                    came += bytes;
                    *turns.last_mut().unwrap() += bytes;
                }
                Poll::Pending => turns.push(0),
            }
        }
        assert!(turns.iter().all(|bytes| *bytes < limits::READ_TURN + room.len()), "{turns:?}");
        assert!(turns.len() >= 6, "{turns:?}");
        // Who is told to wait is woken.
        let mut stream = RequestStream::new(sent.as_slice(), PlainPlace::default());
        assert_eq!(stream.read_to_end(&mut Vec::new()).await.unwrap(), sent.len());
    }

    /// A body of which nothing is taken comes no further; what is not wanted comes to its end.
    #[tokio::test]
    async fn a_body_waits_for_whoever_takes_it() {
        let sent = [POST, &[b'x'; 100_000]].concat();
        let mut stream = RequestStream::new(sent.as_slice(), PlainPlace::default());
        let intake = stream.intake();
        let mut room = vec![0; sent.len()];
        let mut read = async |stream: &mut RequestStream<&[u8]>| {
            let mut bytes = 0;
            // None comes of what waits for the intake, however often it is asked for.
            for _ in 0..20 {
                let mut room = ReadBuf::new(&mut room[..1_000]);
                let poll = poll_fn(|cx| Poll::Ready(Pin::new(&mut *stream).poll_read(cx, &mut room))).await;
                bytes += if poll.is_ready() { room.filled().len() } else { 0 };
            }
            bytes
        };
        let turn = limits::READ_TURN..limits::READ_TURN + 1_000;
        assert!(turn.contains(&read(&mut stream).await), "before its handler is there");
        assert_eq!(read(&mut stream).await, 0);
        let number = intake.begin(Taker::Busy);
        assert_eq!(read(&mut stream).await, 0, "before it asks");
        intake.tell(number, Taker::Asks);
        assert!(turn.contains(&read(&mut stream).await), "once for each time that it asks");
        assert_eq!(read(&mut stream).await, 0);
        intake.tell(number + 1, Taker::Gone);
        assert_eq!(read(&mut stream).await, 0, "another request");
        assert!(intake.has_taken(number - 1), "the next one has its handler");
        intake.tell(number, Taker::Gone);
        let rest = stream.read_to_end(&mut Vec::new()).await.unwrap();
        assert!(rest > 100_000 - 3 * limits::READ_TURN, "{rest}");
    }

    /// Reads until the stream ends, or gives no more for a day.
    async fn ends(stream: &mut RequestStream<DuplexStream>) -> bool {
        timeout(Duration::from_secs(86_400), stream.read_to_end(&mut Vec::new())).await.is_ok()
    }

    /// findings B3: whoever has begun a request and stops is given up, wherever it stops; who has nothing to send is not.
    #[tokio::test(start_paused = true)]
    async fn a_request_that_stops_ends_the_stream() {
        let upgrade = b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\nframes";
        let table: [(&[u8], bool); 6] = [
            (b"GET / HT", true),
            (b"GET / HTTP/1.1\r\n\r\n\r\n", true),
            (POST, true),
            (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", true),
            (b"GET / HTTP/1.1\r\n\r\n", false),
            (upgrade, false),
        ];
        for (sent, is_given_up) in table {
            let (mut client, server) = duplex(1 << 20);
            let mut stream = RequestStream::new(server, PlainPlace::default());
            client.write_all(sent).await.unwrap();
            assert_eq!(ends(&mut stream).await, is_given_up, "{:?}", String::from_utf8_lossy(sent));
        }
    }

    /// findings B3: a body has a least rate: bytes that trickle do not keep it.
    #[tokio::test(start_paused = true)]
    async fn a_body_has_a_least_rate() {
        for (bytes, is_given_up) in [(1, true), (limits::BODY_LEAST_BYTES / 5, false)] {
            let (mut client, server) = duplex(1 << 20);
            let mut stream = RequestStream::new(server, PlainPlace::default());
            stream.intake().begin(Taker::Gone);
            client.write_all(POST).await.unwrap();
            let write = async {
                for _ in 0..30 {
                    advance(Duration::from_secs(1)).await;
                    if client.write_all(&vec![b'x'; bytes]).await.is_err() {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
            };
            let ended = tokio::select! {
                _ = ends(&mut stream) => true,
                () = write => false,
            };
            assert_eq!(ended, is_given_up, "{bytes} bytes a second");
        }
    }

    /// findings B3: an answer that nobody takes ends the connection; on a WebSocket that is for others to say.
    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_not_taken_ends_the_connection() {
        for (sent, is_cut) in [(&b""[..], true), (b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", false)] {
            let (mut client, server) = duplex(100);
            let mut stream = RequestStream::new(server, PlainPlace::default());
            client.write_all(sent).await.unwrap();
            if !sent.is_empty() {
                stream.read_exact(&mut vec![0; sent.len()]).await.unwrap();
            }
            let answer = [b'x'; 1_000];
            let written = timeout(Duration::from_secs(86_400), stream.write_all(&answer)).await;
            let is_timed_out = matches!(written, Ok(Err(error)) if error.kind() == io::ErrorKind::TimedOut);
            assert_eq!(is_timed_out, is_cut);
        }
    }

    /// Whoever sends a head that is too long is told so, also when it goes on sending, and behind the answer to what it asked before.
    #[tokio::test(start_paused = true)]
    async fn a_head_that_is_too_long_is_refused() {
        let (mut client, server) = duplex(1 << 20);
        let mut stream = RequestStream::new(server, PlainPlace::default());
        let head = format!("GET /{} HTTP/1.1\r\n", "x".repeat(3 * limits::HEAD_BYTES));
        client.write_all(head.as_bytes()).await.unwrap();
        let mut came = Vec::new();
        stream.read_to_end(&mut came).await.unwrap();
        assert!(came.len() <= limits::HEAD_BYTES, "{}", came.len());
        stream.write_all(b"before").await.unwrap();
        let shut = async {
            stream.shutdown().await.unwrap();
            drop(stream);
        };
        let mut answer = String::new();
        let read = async {
            client.read_to_string(&mut answer).await.unwrap();
        };
        tokio::join!(shut, read);
        assert!(answer.starts_with("beforeHTTP/1.1 431 "), "{answer}");
        assert!(answer.contains("32768 bytes"), "{answer}");
    }
}
