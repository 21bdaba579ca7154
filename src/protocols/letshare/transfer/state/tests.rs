use super::*;
use crate::protocols::letshare::transfer::chunk::{HEADER_BYTES, Header};

const ZERO: Duration = Duration::ZERO;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn offer(total_chunks: u64) -> Offer {
    Offer { file_size: total_chunks * 1_024, chunk_size: 1_024, total_chunks }
}

fn message(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn chunk(index: u64, total_chunks: u64) -> Chunk {
    let header = Header { transfer_id: "t".into(), chunk_index: index, chunk_size: 1_024, total_chunks };
    // The first byte tells frames apart.
    let mut frame = vec![index as u8; HEADER_BYTES];
    frame.resize(HEADER_BYTES + 1_024, 0);
    Chunk { header, frame: frame.into() }
}

fn frame(index: u64, total: u64) -> Action {
    Action::Frame(chunk(index, total).frame)
}

/// A transfer that was accepted and started.
fn running(total_chunks: u64) -> Transfer {
    let mut transfer = Transfer::new(ZERO, offer(total_chunks));
    transfer.hear(ZERO, Side::Receiver, &Signal::Accept, &message("accept"));
    transfer.hear(ZERO, Side::Sender, &Signal::Start, &message("start"));
    transfer
}

fn send(transfer: &mut Transfer, chunks: std::ops::Range<u64>) {
    let total = transfer.offer().total_chunks;
    for index in chunks {
        assert_eq!(transfer.chunk(ZERO, chunk(index, total)), [frame(index, total)]);
    }
}

fn ack(transfer: &mut Transfer, received_chunks: u64) -> Vec<Action> {
    transfer.hear(ZERO, Side::Receiver, &Signal::Ack { received_chunks }, &message("ack"))
}

fn both_fail(fault: TransferFault) -> [Action; 2] {
    [Side::Sender, Side::Receiver].map(|to| Action::Fail { to, fault })
}

#[test]
fn a_transfer_from_request_to_complete() {
    let mut transfer = Transfer::new(ZERO, offer(3));
    let to_sender = [Action::Forward { to: Side::Sender }];
    let to_receiver = [Action::Forward { to: Side::Receiver }];
    assert_eq!(transfer.hear(ZERO, Side::Receiver, &Signal::Accept, &message("")), to_sender);
    assert_eq!(transfer.hear(ZERO, Side::Sender, &Signal::Start, &message("")), to_receiver);
    send(&mut transfer, 0..3);
    assert_eq!(ack(&mut transfer, 3), to_sender);
    assert_eq!(transfer.hear(ZERO, Side::Sender, &Signal::End, &message("")), to_receiver);
    assert_eq!(transfer.hear(ZERO, Side::Receiver, &Signal::Complete, &message("")), to_sender);
    assert_eq!(transfer.outcome(), Some(Outcome::Completed));
}

#[test]
fn complete_waits_for_end_and_late_messages_are_ignored() {
    let mut transfer = delivered();
    assert_eq!(transfer.hear(ZERO, Side::Sender, &Signal::End, &message("end")), complete_for_sender());
    assert_eq!(transfer.outcome(), Some(Outcome::Completed));
    for (side, signal) in [
        (Side::Sender, Signal::End),
        (Side::Sender, Signal::Cancel),
        (Side::Receiver, Signal::Ack { received_chunks: 1 }),
    ] {
        assert_eq!(transfer.hear(ZERO, side, &signal, &message("")), []);
    }
    assert_eq!(transfer.chunk(ZERO, chunk(0, 1)), []);
    assert!(!transfer.is_forgotten(seconds(29)));
    assert!(transfer.is_forgotten(seconds(30)));
}

/// A transfer whose receiver has everything before the sender has said `end`.
fn delivered() -> Transfer {
    let mut transfer = running(3);
    send(&mut transfer, 0..3);
    let received_chunks = 3;
    assert_eq!(
        transfer.hear(ZERO, Side::Receiver, &Signal::Complete, &message("complete")),
        [Action::AckForSender { received_chunks }],
        "the app forgets a `complete` that comes before its own `end`"
    );
    assert_eq!(transfer.outcome(), None);
    transfer
}

fn complete_for_sender() -> [Action; 1] {
    [Action::Repeat { to: Side::Sender, message: message("complete") }]
}

/// The receiver has its file and wants nothing more: whatever becomes of the sender, it is completed.
#[test]
fn a_receiver_that_has_everything_is_left_alone() {
    let mut transfer = delivered();
    for signal in [
        Signal::Accept,
        Signal::Ack { received_chunks: 2 },
        Signal::Resend { chunk_indexes: vec![0], missing_count: 1 },
        Signal::Complete,
        Signal::Cancel,
    ] {
        let said = transfer.hear(ZERO, Side::Receiver, &signal, &message(""));
        assert_eq!(said, [], "{signal:?}");
    }
    assert_eq!(transfer.chunk(ZERO, chunk(1, 3)), []);
    assert_eq!(transfer.lose(ZERO, Side::Receiver), []);
    assert_eq!(transfer.resume(seconds(1)), []);
    assert_eq!(transfer.tick(seconds(119)), []);
    assert_eq!(transfer.tick(seconds(120)), complete_for_sender());

    let mut transfer = delivered();
    let cancel = transfer.hear(ZERO, Side::Sender, &Signal::Cancel, &message("cancel"));
    assert_eq!(cancel, []);
    assert_eq!(transfer.outcome(), Some(Outcome::Completed));

    let mut transfer = delivered();
    assert_eq!(transfer.lose(ZERO, Side::Sender), complete_for_sender());
    assert_eq!(transfer.take_ending(Side::Sender).as_slice(), complete_for_sender());
    assert_eq!(transfer.outcome(), Some(Outcome::Completed));
}

#[test]
fn complete_before_accept_is_refused() {
    let mut transfer = Transfer::new(ZERO, offer(3));
    let refused = [Action::Fail { to: Side::Receiver, fault: TransferFault::NotAccepted }];
    assert_eq!(transfer.hear(ZERO, Side::Receiver, &Signal::Complete, &message("")), refused);
}

/// The last acks went down with a socket: the sender waits for them and says no `end`, and the receiver, which
/// may have everything, waits for that.
#[test]
fn a_receiver_that_comes_back_after_the_last_chunk_is_told_the_end() {
    let mut transfer = running(3);
    send(&mut transfer, 0..3);
    transfer.lose(seconds(1), Side::Receiver);
    let actions = transfer.resume(seconds(2));
    assert_eq!(actions.last(), Some(&Action::EndForReceiver));
    assert_eq!(actions.len(), 5, "start, three frames, end");

    let mut transfer = running(4);
    send(&mut transfer, 0..3);
    transfer.lose(seconds(1), Side::Receiver);
    assert!(!transfer.resume(seconds(2)).contains(&Action::EndForReceiver));
}

#[test]
fn each_side_says_only_its_own_words() {
    let not_yours = |to| [Action::Fail { to, fault: TransferFault::NotYourTransfer }];
    for signal in [Signal::Accept, Signal::Reject, Signal::Complete, Signal::Ack { received_chunks: 1 }] {
        let mut transfer = Transfer::new(ZERO, offer(3));
        assert_eq!(transfer.hear(ZERO, Side::Sender, &signal, &message("")), not_yours(Side::Sender));
        assert_eq!(transfer.outcome(), None);
    }
    for signal in [Signal::Start, Signal::End] {
        let mut transfer = running(3);
        assert_eq!(transfer.hear(ZERO, Side::Receiver, &signal, &message("")), not_yours(Side::Receiver));
    }
}

#[test]
fn frames_before_accept_are_refused_but_end_the_transfer_not() {
    let mut transfer = Transfer::new(ZERO, offer(3));
    let refused = [Action::Fail { to: Side::Sender, fault: TransferFault::NotAccepted }];
    assert_eq!(transfer.chunk(ZERO, chunk(0, 3)), refused);
    assert_eq!(transfer.outcome(), None);
}

/// The app says `end` after a resend while its main loop still has chunks.
#[test]
fn frames_after_end_go_through() {
    let mut transfer = running(3);
    send(&mut transfer, 0..2);
    transfer.hear(ZERO, Side::Sender, &Signal::End, &message("end"));
    send(&mut transfer, 2..3);
}

#[test]
fn a_frame_that_does_not_fit_the_offer_ends_the_transfer_for_both() {
    let wrong_size = Chunk { header: Header { chunk_size: 7, ..chunk(0, 3).header }, ..chunk(0, 3) };
    let longer = Chunk { frame: chunk(0, 3).frame.iter().copied().chain([0]).collect(), ..chunk(0, 3) };
    for bad in [chunk(3, 3), chunk(u64::MAX, 3), chunk(0, 4), wrong_size, longer] {
        let mut transfer = running(3);
        assert_eq!(transfer.chunk(ZERO, bad), both_fail(TransferFault::BadChunk));
        assert_eq!(transfer.outcome(), Some(Outcome::Failed(TransferFault::BadChunk)));
    }
}

#[test]
fn a_sender_far_beyond_its_window_is_stopped() {
    let mut transfer = running(200);
    send(&mut transfer, 0..40);
    ack(&mut transfer, 8);
    send(&mut transfer, 40..48);
    assert_eq!(transfer.chunk(ZERO, chunk(48, 200)), both_fail(TransferFault::WindowExceeded));
}

#[test]
fn an_ack_opens_the_window_by_no_more_than_was_sent() {
    let mut transfer = running(200);
    send(&mut transfer, 0..10);
    ack(&mut transfer, 150);
    assert_eq!(transfer.acknowledged(), 10);
}

#[test]
fn a_frame_sent_again_unasked_is_dropped() {
    let mut transfer = running(3);
    send(&mut transfer, 0..2);
    assert_eq!(transfer.chunk(ZERO, chunk(1, 3)), []);
}

/// docs/protocols/letshare.md §3.5.9
#[test]
fn a_receiver_who_comes_back_gets_what_the_ring_holds_and_what_came_meanwhile() {
    let mut transfer = running(100);
    send(&mut transfer, 0..20);
    ack(&mut transfer, 16);
    let status = |status| Action::State { to: Side::Sender, status };
    assert_eq!(transfer.lose(seconds(1), Side::Receiver), []);
    assert_eq!(transfer.tick(seconds(3)), []);
    assert_eq!(transfer.tick(seconds(4)), [status("interrupted")]);
    assert_eq!(transfer.tick(seconds(5)), [], "told once");
    assert_eq!(transfer.lose(seconds(5), Side::Receiver), []);
    for index in 20..40 {
        assert_eq!(transfer.chunk(seconds(2), chunk(index, 100)), [], "kept");
    }
    assert_eq!(transfer.hear(seconds(2), Side::Sender, &Signal::End, &message("end")), []);

    let to = Side::Receiver;
    let mut expected = vec![Action::Repeat { to, message: message("start") }];
    expected.extend((0..40).map(|index| frame(index, 100)));
    expected.push(Action::Repeat { to, message: message("end") });
    expected.push(status("transferring"));
    assert_eq!(transfer.resume(seconds(20)), expected);
    assert_eq!(transfer.resume(seconds(20)), []);
}

/// The app shows every notice.
#[test]
fn a_receiver_who_is_back_at_once_was_never_away() {
    let mut transfer = running(100);
    send(&mut transfer, 0..2);
    for second in 1..9 {
        assert_eq!(transfer.lose(seconds(second), Side::Receiver), []);
        assert_eq!(transfer.tick(seconds(second + 2)), []);
        let again = transfer.resume(seconds(second + 2));
        let start = Action::Repeat { to: Side::Receiver, message: message("start") };
        assert_eq!(again, [start, frame(0, 100), frame(1, 100)]);
        assert_eq!(transfer.tick(seconds(second + 3)), []);
    }
}

#[test]
fn a_receiver_who_stays_away_is_told_when_it_comes_after_all() {
    let mut transfer = running(100);
    send(&mut transfer, 0..5);
    transfer.lose(seconds(10), Side::Receiver);
    transfer.tick(seconds(13));
    assert_eq!(transfer.tick(seconds(39)), []);
    assert_eq!(transfer.tick(seconds(40)), both_fail(TransferFault::ReceiverGone));
    let fault = TransferFault::ReceiverGone;
    assert_eq!(transfer.resume(seconds(70)), [Action::Fail { to: Side::Receiver, fault }]);
    assert_eq!(transfer.resume(seconds(70)), []);
}

#[test]
fn a_lost_sender_ends_it_at_once() {
    let mut transfer = running(3);
    assert_eq!(transfer.lose(ZERO, Side::Sender), both_fail(TransferFault::SenderGone));
    assert_eq!(transfer.lose(ZERO, Side::Receiver), []);
    // It is told when it comes back, once.
    let fault = TransferFault::SenderGone;
    let to = Side::Sender;
    assert!(!transfer.is_forgotten(seconds(119)));
    assert_eq!(transfer.take_ending(to), Some(Action::Fail { to, fault }));
    assert_eq!(transfer.take_ending(to), None);
    assert!(transfer.is_forgotten(seconds(119)));
}

#[test]
fn nobody_waits_for_ever() {
    let mut pending = Transfer::new(ZERO, offer(3));
    assert_eq!(pending.tick(seconds(29)), []);
    assert_eq!(pending.tick(seconds(30)), both_fail(TransferFault::Timeout));
    let mut idle = running(3);
    assert_eq!(idle.tick(seconds(119)), []);
    assert_eq!(idle.tick(seconds(120)), both_fail(TransferFault::Timeout));
}

/// docs/protocols/letshare.md §3.5.9, last sentence.
#[test]
fn a_resend_is_served_from_the_ring_and_the_rest_asked_of_the_sender() {
    let mut transfer = running(100);
    for window in 0..2 {
        send(&mut transfer, window * 24..(window + 1) * 24);
        ack(&mut transfer, (window + 1) * 24 - 2);
    }
    // Kept: 8 to 47. The full count may exceed the list (§5 p).
    let resend = Signal::Resend { chunk_indexes: vec![47, 3, 8, 8], missing_count: 60 };
    let actions = transfer.hear(ZERO, Side::Receiver, &resend, &message("resend"));
    assert_eq!(
        actions,
        [
            frame(8, 100),
            frame(47, 100),
            Action::AckForSender { received_chunks: 40 },
            Action::ResendFromSender { chunk_indexes: vec![3], missing_count: 60 },
        ]
    );
    assert_eq!(transfer.chunk(ZERO, chunk(3, 100)), [frame(3, 100)], "asked for");
    assert_eq!(transfer.chunk(ZERO, chunk(3, 100)), [], "once");
}

#[test]
fn a_resend_that_the_ring_covers_does_not_bother_the_sender() {
    let mut transfer = running(3);
    send(&mut transfer, 0..3);
    transfer.hear(ZERO, Side::Sender, &Signal::End, &message("end"));
    let resend = Signal::Resend { chunk_indexes: vec![1], missing_count: 1 };
    let to = Side::Receiver;
    assert_eq!(
        transfer.hear(ZERO, Side::Receiver, &resend, &message("resend")),
        [frame(1, 3), Action::Repeat { to, message: message("end") }]
    );
}

#[test]
fn a_resend_of_what_does_not_exist_asks_nobody_for_it() {
    let mut transfer = running(3);
    send(&mut transfer, 0..3);
    for chunk_indexes in [vec![0, 3], vec![u64::MAX]] {
        let resend = Signal::Resend { chunk_indexes, missing_count: 1 };
        assert_eq!(
            transfer.hear(ZERO, Side::Receiver, &resend, &message("resend")),
            [Action::Fail { to: Side::Receiver, fault: TransferFault::BadRequest }]
        );
    }
    assert_eq!(transfer.outcome(), None);
}

/// The acks of a whole window went down with a socket: the receiver asks for everything it misses, most of
/// which was never sent. The sender needs its window, not a list.
#[test]
fn what_was_never_sent_is_not_asked_for_again() {
    let mut transfer = running(100);
    send(&mut transfer, 0..24);
    let resend = Signal::Resend { chunk_indexes: (24..100).collect(), missing_count: 76 };
    let actions = transfer.hear(ZERO, Side::Receiver, &resend, &message("resend"));
    let received_chunks = 24;
    assert_eq!(actions, [Action::AckForSender { received_chunks }]);
    send(&mut transfer, 24..48);
}
