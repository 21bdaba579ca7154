//! Cuts a TCP connection from outside.
//!
//! actix-http waits for a socket that takes nothing and polls the response body meanwhile no more,
//! so ending the body does not close a stuck connection (`docs/design/hot-path.md §3`, point 8). Shutting the socket
//! down does.

use std::{cell::Cell, os::fd::RawFd, rc::Rc};

use nix::sys::socket::{MsgFlags, Shutdown, send, shutdown};

/// The descriptor of a connection that somebody else owns. Whoever owns it calls
/// [`Socket::forget`] before closing it, on the same thread, so that the number never belongs to another connection.
#[derive(Clone, Debug)]
pub struct Socket(Rc<Cell<Option<RawFd>>>);

impl Socket {
    pub fn new(descriptor: Option<RawFd>) -> Self {
        Self(Rc::new(Cell::new(descriptor)))
    }

    /// The owner closes it now.
    pub fn forget(&self) {
        self.0.set(None);
    }

    /// No more will be written: the peer reads what is on the way, then the end.
    pub fn finish(&self) {
        self.shut_down(Shutdown::Write);
    }

    /// Writes without waiting; how many bytes the kernel took. 0 also when the connection is broken,
    /// which the owner finds out.
    pub fn send(&self, bytes: &[u8]) -> usize {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let descriptor = self.0.get();
        descriptor.map_or(0, |descriptor| send(descriptor, bytes, flags).unwrap_or(0))
    }

    /// Ends both directions at once.
    pub fn cut(&self) {
        self.shut_down(Shutdown::Both);
    }

    fn shut_down(&self, how: Shutdown) {
        if let Some(descriptor) = self.0.get() {
            // An error means that the peer was quicker: the connection is over either way.
            let _ = shutdown(descriptor, how);
        }
    }
}
