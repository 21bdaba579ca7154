//! What the sides of a transfer say (`docs/protocols/letshare.md §3.1`), and what is to be done about it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::protocols::letshare::transfer::fault::TransferFault;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Side {
    Sender,
    Receiver,
}

impl Side {
    /// As the wire calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sender => "sender",
            Self::Receiver => "receiver",
        }
    }

    pub(super) const fn other(self) -> Self {
        match self {
            Self::Sender => Self::Receiver,
            Self::Receiver => Self::Sender,
        }
    }
}

/// What a side says, as far as the server has to understand it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Signal {
    Accept,
    Reject,
    Start,
    Ack { received_chunks: u64 },
    End,
    Complete,
    Resend { chunk_indexes: Vec<u64>, missing_count: u64 },
    Cancel,
    Error,
    ResumeQuery,
}

impl Signal {
    /// Who may say it; none = both.
    pub(super) const fn speaker(&self) -> Option<Side> {
        match self {
            Self::Start | Self::End => Some(Side::Sender),
            Self::Accept | Self::Reject | Self::Ack { .. } | Self::Complete | Self::Resend { .. } => {
                Some(Side::Receiver)
            }
            Self::Cancel | Self::Error | Self::ResumeQuery => None,
        }
    }

    /// Whether its speaker waits for something. The app shows every error (`docs/protocols/letshare.md §2.2`), so
    /// whoever waits for nothing is not told that the transfer is gone.
    pub const fn wants_answer(&self) -> bool {
        match self {
            Self::Accept | Self::Start | Self::End | Self::Resend { .. } | Self::ResumeQuery => true,
            Self::Reject | Self::Ack { .. } | Self::Complete | Self::Cancel | Self::Error => false,
        }
    }
}

/// What is to be done, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Hand the control message on as it came.
    Forward {
        to: Side,
    },
    /// Hand on a control message that was kept.
    Repeat {
        to: Side,
        message: Bytes,
    },
    /// To the receiver, unchanged.
    Frame(Bytes),
    Fail {
        to: Side,
        fault: TransferFault,
    },
    /// Tell how far the transfer is.
    State {
        to: Side,
        status: &'static str,
    },
    /// Tell the sender that so many chunks have arrived, so that its window opens.
    AckForSender {
        received_chunks: u64,
    },
    /// Tell the receiver that it has been sent everything.
    EndForReceiver,
    /// Ask the sender for what the ring no longer holds.
    ResendFromSender {
        chunk_indexes: Vec<u64>,
        missing_count: u64,
    },
}

/// How a transfer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Completed,
    /// One side did not want it, or not any longer.
    Cancelled,
    Failed(TransferFault),
}
