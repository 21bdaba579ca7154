#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use actix_web::{http::header, test::TestRequest};
use futures_util::{FutureExt as _, StreamExt as _, stream};
use proptest::{collection::vec, prelude::*};

use super::*;

const TEXT: u8 = 1;
const CONTINUATION: u8 = 0;
const PING: u8 = 9;

const LIMITS: MessageLimits = MessageLimits { max_message_bytes: 1000, max_fragments: 4 };

/// The header of a client frame that declares `payload_bytes`.
fn head(opcode: u8, is_final: bool, payload_bytes: u64) -> Vec<u8> {
    let mut bytes = vec![opcode | if is_final { 0x80 } else { 0 }];
    match payload_bytes {
        0..126 => bytes.push(0x80 | payload_bytes as u8),
        126..65_536 => {
            bytes.push(0x80 | 126);
            bytes.extend((payload_bytes as u16).to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend(payload_bytes.to_be_bytes());
        }
    }
    bytes
}

/// A whole client frame; the masking key is four zeros.
fn frame(opcode: u8, is_final: bool, payload_bytes: usize) -> Vec<u8> {
    let mut bytes = head(opcode, is_final, payload_bytes as u64);
    bytes.extend([0; 4]);
    bytes.extend(std::iter::repeat_n(b'x', payload_bytes));
    bytes
}

/// What comes through when the client sends `chunks`, and the verdict.
fn run(chunks: impl IntoIterator<Item = Vec<u8>>) -> (Vec<u8>, Option<Violation>) {
    let verdict = Verdict::default();
    let source = stream::iter(chunks.into_iter().map(|chunk| Ok(Bytes::from(chunk))));
    let passed: Vec<_> = FrameGuard::new(source, LIMITS, None, verdict.clone())
        .map(|chunk| chunk.unwrap().to_vec())
        .collect()
        .now_or_never()
        .unwrap();
    (passed.concat(), verdict.violation())
}

#[test]
fn a_message_of_exactly_the_limit_passes() {
    let bytes = frame(TEXT, true, 1000);
    assert_eq!(run([bytes.clone()]), (bytes, None));
}

#[test]
fn a_frame_header_of_4_gib_is_refused_and_what_stood_before_it_passes() {
    let good = frame(TEXT, true, 5);
    let mut bytes = good.clone();
    bytes.extend(head(TEXT, true, 4 << 30));
    bytes.extend([b'x'; 500]);
    assert_eq!(run([bytes]), (good, Some(Violation::TooBig)));
}

#[test]
fn control_frames_and_lengths_beyond_63_bits_are_bounded_too() {
    for bytes in [head(PING, true, 4 << 30), head(TEXT, true, u64::MAX)] {
        assert_eq!(run([bytes]), (vec![], Some(Violation::TooBig)));
    }
}

#[test]
fn the_fragments_of_one_message_are_added_up_and_a_new_message_starts_at_nothing() {
    let first = [frame(TEXT, false, 600), frame(CONTINUATION, true, 400)].concat();
    let second = [frame(TEXT, false, 600), frame(CONTINUATION, true, 401)];
    let (passed, violation) = run([first.clone(), second.concat()]);
    assert_eq!(violation, Some(Violation::TooBig));
    assert_eq!(passed, [first, second[0].clone()].concat());
}

#[test]
fn one_byte_fragments_are_counted() {
    let mut bytes = frame(TEXT, false, 1);
    for _ in 0..3 {
        bytes.extend(frame(CONTINUATION, false, 1));
    }
    let four = bytes.clone();
    bytes.extend(frame(CONTINUATION, true, 0));
    assert_eq!(run([bytes]), (four, Some(Violation::TooManyFragments)));
}

#[test]
fn control_frames_between_fragments_are_not_fragments() {
    let mut bytes = frame(TEXT, false, 1);
    for _ in 0..20 {
        bytes.extend(frame(PING, true, 125));
    }
    bytes.extend(frame(CONTINUATION, false, 1));
    bytes.extend(frame(CONTINUATION, false, 1));
    bytes.extend(frame(CONTINUATION, true, 1));
    assert_eq!(run([bytes.clone()]), (bytes, None));
}

#[test]
fn a_header_cut_short_by_the_end_still_reaches_the_decoder() {
    let bytes = head(TEXT, true, 700)[..3].to_vec();
    assert_eq!(run([bytes.clone()]), (bytes, None));
}

#[test]
fn an_unmasked_frame_does_not_put_the_guard_out_of_step() {
    let mut bytes = vec![0x81, 3, b'a', b'b', b'c'];
    let good = bytes.clone();
    bytes.extend(head(TEXT, true, 1001));
    assert_eq!(run([bytes]), (good, Some(Violation::TooBig)));
}

#[actix_web::test]
async fn in_front_of_actix_ws_the_good_message_arrives_and_then_the_end() {
    let request = TestRequest::get()
        .insert_header((header::UPGRADE, "websocket"))
        .insert_header((header::CONNECTION, "upgrade"))
        .insert_header((header::SEC_WEBSOCKET_VERSION, "13"))
        .insert_header((header::SEC_WEBSOCKET_KEY, "x3JJHMbDL1EzLkh9GBhXDw=="))
        .to_http_request();
    let bytes = [frame(TEXT, true, 2), head(TEXT, true, 4 << 30), vec![0; 600]].concat();
    let mut raw: dev::Payload = dev::Payload::Stream { payload: Box::pin(stream::iter([Ok(Bytes::from(bytes))])) };
    let payload = web::Payload::from_request(&request, &mut raw).await.unwrap();

    let (payload, verdict) = guard_payload(&request, payload, LIMITS, None).await.unwrap();
    let (_response, _session, mut messages) = actix_ws::handle(&request, payload).unwrap();

    let first = messages.next().await.unwrap().unwrap();
    assert_eq!(first, actix_ws::Message::Text("xx".into()));
    assert!(messages.next().await.is_none());
    assert_eq!(verdict.violation(), Some(Violation::TooBig));
}

/// Mostly small frames, some that break a limit, now and then bytes that are no frames at all.
fn traffic() -> impl Strategy<Value = Vec<u8>> {
    let honest = (0..16u8, any::<bool>(), 0..400usize).prop_map(|(o, f, n)| frame(o, f, n));
    let huge = (0..16u8, any::<bool>(), any::<u64>()).prop_map(|(o, f, n)| head(o, f, n));
    let noise = vec(any::<u8>(), 0..30);
    vec(prop_oneof![8 => honest, 1 => huge, 1 => noise], 0..12).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn cutting_the_bytes_differently_changes_neither_bytes_nor_verdict(
        bytes in traffic(),
        cuts in vec(1..40usize, 0..200),
    ) {
        let mut chunks = Vec::new();
        let mut rest = bytes.as_slice();
        for cut in cuts {
            let (chunk, after) = rest.split_at(cut.min(rest.len()));
            chunks.push(chunk.to_vec());
            rest = after;
        }
        chunks.push(rest.to_vec());
        let whole = run([bytes.clone()]);

        prop_assert_eq!(run(chunks), whole.clone());
        prop_assert_eq!(run(bytes.iter().map(|byte| vec![*byte])), whole.clone());
        prop_assert!(bytes.starts_with(&whole.0));
        prop_assert!(whole.1.is_some() || whole.0 == bytes, "bytes were lost without a verdict");
    }
}

/// What a message that is not whole may come to is paid for; a small one and a whole one cost nothing.
#[test]
fn an_account_pays_for_messages_that_are_not_whole() {
    let limits = MessageLimits { max_message_bytes: 100_000, max_fragments: 4 };
    let account = Account::server(60_000);
    let whole = frame(TEXT, true, 50_000);
    let (begin, end) = whole.split_at(10_000);
    let chunks = [
        (frame(TEXT, true, INBOUND_FREE)[..100].to_vec(), 0),
        (frame(TEXT, true, INBOUND_FREE)[100..].to_vec(), 0),
        (whole.clone(), 0),
        (begin.to_vec(), 50_000),
        (end.to_vec(), 0),
        (frame(TEXT, false, 30_000), 30_000),
        ([&frame(PING, true, 9_000), &head(CONTINUATION, true, 20_000)[..]].concat(), 50_000),
        (vec![0; 4 + 20_000], 0),
        (frame(TEXT, false, 30_000), 30_000),
    ];
    let (chunks, kept): (Vec<_>, Vec<_>) = chunks.into_iter().unzip();
    let refused = frame(CONTINUATION, false, 30_001);
    let source = stream::iter(chunks.into_iter().chain([refused]).map(|chunk| Ok(Bytes::from(chunk))));
    let verdict = Verdict::default();
    let mut guard = FrameGuard::new(source, limits, Some(account.clone()), verdict.clone());
    for (step, kept) in kept.into_iter().enumerate() {
        assert!(matches!(guard.next().now_or_never(), Some(Some(Ok(_)))), "{step}");
        assert_eq!((account.kept(), account.kept_of(Kind::Inbound)), (kept, kept), "{step}");
    }
    assert!(matches!(guard.next().now_or_never(), Some(None)));
    assert!(matches!(verdict.violation(), Some(Violation::NoMemory(full)) if full.limit == 60_000));
    drop(guard);
    assert_eq!(account.kept(), 0);
}
