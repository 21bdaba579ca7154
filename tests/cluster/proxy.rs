//! Between a node and Redis: passes everything on, until it is told to cut.

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// Ends with its owner.
pub struct Proxy {
    pub port: u16,
    state: watch::Sender<State>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Connections of this number of cuts live.
    Open(usize),
    Away,
}

impl Proxy {
    pub async fn start(to: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (state, watched) = watch::channel(State::Open(0));
        tokio::spawn(async move {
            loop {
                let Ok((mut from, _)) = listener.accept().await else { return };
                let mut watched = watched.clone();
                let born = *watched.borrow();
                if watched.has_changed().is_err() {
                    return;
                }
                tokio::spawn(async move {
                    if born == State::Away {
                        return;
                    }
                    let Ok(mut onto) = TcpStream::connect(("127.0.0.1", to)).await else { return };
                    tokio::select! {
                        _ = copy_bidirectional(&mut from, &mut onto) => {}
                        _ = watched.wait_for(|state| *state != born) => {}
                    }
                });
            }
        });
        Self { port, state }
    }

    /// Cuts every connection that there is.
    pub fn cut(&self) {
        self.state.send_modify(|state| {
            *state = match *state {
                State::Open(cuts) => State::Open(cuts + 1),
                State::Away => State::Away,
            };
        });
    }

    /// Cuts every connection, and lets none through.
    pub fn go_away(&self) {
        self.state.send_replace(State::Away);
    }

    pub fn come_back(&self) {
        self.state.send_replace(State::Open(usize::MAX / 2));
    }
}
