//! A TCP connection that has a place among those that are open, from its first moment on ([`Admission`]).

use std::{
    cell::RefCell,
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use actix_web::rt::net::{ActixStream, Ready, TcpStream};
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{
    actors::{
        accounts::{Charge, Full, Kind},
        broker::Broker,
    },
    edge::admission::{Admission, NotAccepted, Permit},
    limits,
};

pub struct Counted {
    io: TcpStream,
    place: PlainPlace,
}

/// What a connection has while it is plain HTTP. A WebSocket gives it up: it has a place of its own. Clones are the same.
#[derive(Clone, Default)]
pub struct PlainPlace(Rc<RefCell<Option<(Permit, Charge)>>>);

impl PlainPlace {
    pub fn give_up(&self) {
        drop(self.0.take());
    }

    /// Pays for `bytes` beside what every connection costs.
    ///
    /// # Errors
    /// The account of its network has no room for them.
    pub fn pay_beside(&self, bytes: usize) -> Result<(), Full> {
        let mut held = self.0.borrow_mut();
        held.as_mut().map_or(Ok(()), |(_, charge)| charge.set(limits::PLAIN_CONNECTION_COST + bytes))
    }
}

impl Counted {
    /// Takes a place, and what the connection costs from the account of its network. Behind a proxy its clients are not known
    /// yet, and the proxy's own address does not count.
    ///
    /// # Errors
    /// When there is no place: the connection is closed.
    pub fn accept(io: TcpStream, admission: &Admission, broker: &Broker, proxies: &[IpNet]) -> io::Result<Self> {
        let address = io.peer_addr()?.ip().to_canonical();
        let is_proxy = proxies.iter().any(|network| network.contains(&address));
        let taken = admission.accept(address, is_proxy).and_then(|permit| {
            let account = broker.accounts.requests(permit.network());
            let charge =
                account.charge(Kind::PlainConnection, limits::PLAIN_CONNECTION_COST).map_err(NotAccepted::NoMemory)?;
            Ok((permit, charge))
        });
        match taken {
            Ok(held) => Ok(Self { io, place: PlainPlace(Rc::new(RefCell::new(Some(held)))) }),
            Err(refusal) => {
                broker.refused(refusal.reason(), Some(address), || format!("a connection is closed: {refusal}"));
                Err(io::ErrorKind::ConnectionRefused.into())
            }
        }
    }

    pub const fn tcp(&self) -> &TcpStream {
        &self.io
    }

    pub fn place(&self) -> PlainPlace {
        self.place.clone()
    }
}

impl ActixStream for Counted {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_read_ready(&self.io, cx)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_write_ready(&self.io, cx)
    }
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, parts)
    }
}
