//! Between a node and Redis: passes everything on, until it is told to cut, or to keep what is published to itself.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// Ends with its owner.
pub struct Proxy {
    pub port: u16,
    state: watch::Sender<State>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct State {
    to: u16,
    cuts: usize,
    is_away: bool,
    is_mute: bool,
}

impl Proxy {
    pub async fn start(to: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (state, watched) = watch::channel(State { to, cuts: 0, is_away: false, is_mute: false });
        tokio::spawn(async move {
            while let Ok((from, _)) = listener.accept().await {
                let (state, mut watched) = (watched.clone(), watched.clone());
                let born = *watched.borrow_and_update();
                if watched.has_changed().is_err() {
                    return;
                }
                tokio::spawn(async move {
                    let Ok(onto) = TcpStream::connect(("127.0.0.1", born.to)).await else { return };
                    tokio::select! {
                        () = pass(from, onto, state), if !born.is_away => {}
                        _ = watched.wait_for(|state| state.is_away || state.cuts > born.cuts) => {}
                    }
                });
            }
        });
        Self { port, state }
    }

    /// Cuts every connection that there is.
    pub fn cut(&self) {
        self.state.send_modify(|state| state.cuts += 1);
    }

    /// Another Redis is the one from now on, as after a failover.
    pub fn set_target(&self, to: u16) {
        self.state.send_modify(|state| {
            state.to = to;
            state.cuts += 1;
        });
    }

    /// Cuts every connection, and lets none through until it is back.
    pub fn set_away(&self, is_away: bool) {
        self.state.send_modify(|state| state.is_away = is_away);
    }

    /// What subscribers would hear is lost; everything else is passed on.
    pub fn set_mute(&self, is_mute: bool) {
        self.state.send_modify(|state| state.is_mute = is_mute);
    }
}

async fn pass(from: TcpStream, onto: TcpStream, state: watch::Receiver<State>) {
    let (mut asked, mut answer) = from.into_split();
    let (mut answered, mut ask) = onto.into_split();
    let mut there = vec![0; 1 << 16];
    let mut back = there.clone();
    let mut is_subscriber = false;
    loop {
        tokio::select! {
            Ok(count) = asked.read(&mut there) => {
                let bytes = &there[..count];
                is_subscriber |= bytes.windows(9).any(|word| word == b"SUBSCRIBE");
                if count == 0 || ask.write_all(bytes).await.is_err() {
                    return;
                }
            }
            Ok(count) = answered.read(&mut back) => {
                let is_lost = is_subscriber && state.borrow().is_mute;
                if count == 0 || !is_lost && answer.write_all(&back[..count]).await.is_err() {
                    return;
                }
            }
            else => return,
        }
    }
}
