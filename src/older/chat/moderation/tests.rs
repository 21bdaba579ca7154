//! Moderation against a stand-in for the service on this machine.

use std::{
    collections::HashMap,
    fs, io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use futures_util::future::join_all;
use parking_lot::Mutex;
use url::form_urlencoded;

use self::stand_in::{Answer, StandIn};
use super::*;
use crate::{
    config::{Chat, Config},
    ids::Timestamp,
    limits,
};

mod stand_in;

const API_KEY: &str = "CANARY-api-key&1";
const SECRET_KEY: &str = "CANARY-secret+key";
const COMPLIANT: &str = r#"{"log_id":1,"conclusion":"合规","conclusionType":1}"#;
const VIOLATION: &str = r#"{"log_id":2,"conclusion":"不合规","conclusionType":2,"data":[{"type":12,"subType":5,
    "msg":"存在低俗辱骂不合规","conclusion":"不合规","conclusionType":2,"hits":[{"words":["x"]}]}]}"#;
const SUSPECTED: &str = r#"{"conclusion":"疑似","conclusionType":3,"data":[]}"#;
const AUDIT_FAILED: &str = r#"{"conclusion":"审核失败","conclusionType":4}"#;
const TOKEN_EXPIRED: &str = r#"{"error_code":111,"error_msg":"Access token expired","log_id":1234567890}"#;

fn off() -> Chat {
    Config::for_tests().chat
}

fn settings(address: SocketAddr) -> Chat {
    Chat {
        baidu_api_key: API_KEY.to_owned().into(),
        baidu_secret_key: SECRET_KEY.to_owned().into(),
        baidu_base_url: format!("http://{address}"),
        baidu_timeout: Duration::from_secs(10),
        baidu_on_error: Moderated::Block,
        baidu_suspect: Moderated::Block,
        ..off()
    }
}

fn moderation(settings: Chat) -> (Moderation, Clock) {
    let clock = Clock::manual(Timestamp::from_millis(1_000_000));
    (Moderation::new(&settings, clock.clone()).unwrap(), clock)
}

fn blocked(reason: &str) -> Verdict {
    Verdict::Blocked { reason: reason.to_owned() }
}

/// All workers share one.
const fn is_shared<T: Send + Sync>() {}
const _: () = is_shared::<Moderation>();

#[actix_web::test]
async fn nothing_configured_judges_nothing() {
    let off = Moderation::new(&off(), Clock::system()).unwrap();
    assert!(!off.is_on());
    assert_eq!(off.judge("anything").await, Verdict::Pass);
}

#[actix_web::test]
async fn each_conclusion_has_its_verdict() {
    let service = StandIn::start(COMPLIANT);
    for (choice, suspected, error) in [
        (Moderated::Block, blocked("消息不合规"), blocked("消息不合规")),
        (Moderated::Allow, Verdict::Pass, Verdict::Pass),
    ] {
        let (moderation, _) =
            moderation(Chat { baidu_on_error: choice, baidu_suspect: choice, ..settings(service.address) });
        assert!(moderation.is_on());
        assert_eq!(moderation.judge("ok").await, Verdict::Pass);
        service.next([Answer::Json(VIOLATION)]);
        assert_eq!(moderation.judge("bad").await, blocked("存在低俗辱骂不合规"));
        service.next([Answer::Json(SUSPECTED)]);
        assert_eq!(moderation.judge("hm").await, suspected);
        for failure in [
            Answer::Json(AUDIT_FAILED),
            Answer::Json(r#"{"conclusionType":9}"#),
            Answer::Json(r#"{"error_code":18,"error_msg":"Open api qps request limit reached"}"#),
            Answer::Json(r#"{"error_code":19,"error_msg":"Open api total request limit reached"}"#),
            Answer::Json("{}"),
            Answer::Json(r#"{"conclusionType":"#),
            Answer::Json("[1]"),
            Answer::Status(500),
            Answer::Huge,
            Answer::Cut,
        ] {
            service.next([failure]);
            assert_eq!(moderation.judge("?").await, error, "{failure:?}");
            // So that the breaker stays closed.
            assert_eq!(moderation.judge("ok").await, Verdict::Pass, "after {failure:?}");
        }
    }
}

#[actix_web::test]
async fn text_and_keys_arrive_as_they_are() {
    let service = StandIn::start(COMPLIANT);
    let (moderation, _) =
        moderation(Chat { baidu_base_url: format!("http://{}/", service.address), ..settings(service.address) });
    let texts = ["a&b=c+d %41 中文 \u{1f600}\n\0;#?", "", " ", "text=x&access_token=y"];
    for text in texts {
        assert_eq!(moderation.judge(text).await, Verdict::Pass);
    }
    let seen = service.seen();
    assert_eq!(seen.texts, texts);
    assert_eq!(seen.content_type, "application/x-www-form-urlencoded");
    let asked: HashMap<_, _> = form_urlencoded::parse(seen.token_query.as_bytes()).collect();
    let wanted = [("grant_type", "client_credentials"), ("client_id", API_KEY), ("client_secret", SECRET_KEY)];
    assert_eq!(asked.len(), wanted.len());
    assert!(wanted.iter().all(|(name, value)| asked[*name] == *value));
    assert!(seen.body.is_ascii(), "{}", seen.body);
}

#[actix_web::test]
async fn one_token_serves_many_calls_until_shortly_before_its_end() {
    let service = StandIn::start(COMPLIANT);
    let (moderation, clock) = moderation(settings(service.address));
    let verdicts = join_all((0..50).map(|_| moderation.judge("at once"))).await;
    assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Pass));
    assert_eq!(service.seen().tokens, 1);
    clock.advance(stand_in::LIFETIME - limits::MODERATION_TOKEN_MARGIN - Duration::from_millis(1));
    moderation.judge("still").await;
    assert_eq!(service.seen().tokens, 1);
    clock.advance(Duration::from_millis(1));
    moderation.judge("anew").await;
    moderation.judge("anew").await;
    assert_eq!(service.seen().tokens, 2);
}

#[actix_web::test]
async fn a_refused_token_is_fetched_anew_once() {
    let service = StandIn::start(COMPLIANT);
    let (moderation, _) = moderation(settings(service.address));
    moderation.judge("first").await;
    for refusal in [TOKEN_EXPIRED, r#"{"error_code":110,"error_msg":"Access token invalid or no longer valid"}"#] {
        let before = service.seen().tokens;
        service.next([Answer::Json(refusal)]);
        assert_eq!(moderation.judge("again").await, Verdict::Pass);
        assert_eq!(service.seen().tokens, before + 1);
    }
    // All tokens that were issued before are void; many find out at once.
    let before = service.seen().tokens;
    service.void_tokens();
    let verdicts = join_all((0..20).map(|_| moderation.judge("at once"))).await;
    assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Pass));
    assert_eq!(service.seen().tokens, before + 1);

    // Refused again: no third attempt.
    let before = service.seen();
    service.next([Answer::Json(TOKEN_EXPIRED), Answer::Json(TOKEN_EXPIRED)]);
    assert_eq!(moderation.judge("refused").await, blocked("消息不合规"));
    let after = service.seen();
    assert_eq!(after.tokens, before.tokens + 1);
    assert_eq!(after.texts.len(), before.texts.len() + 2);
}

#[actix_web::test]
async fn wrong_keys_are_an_error() {
    let service = StandIn::start(COMPLIANT);
    let (moderation, _) = moderation(settings(service.address));
    service.refuse_keys();
    assert_eq!(moderation.judge("x").await, blocked("消息不合规"));
    assert_eq!(service.seen().texts.len(), 0);
}

#[actix_web::test]
async fn a_service_that_does_not_answer_costs_the_time_limit_only() {
    let service = StandIn::start(COMPLIANT);
    let (moderation, _) = moderation(Chat { baidu_timeout: Duration::from_millis(100), ..settings(service.address) });
    service.next([Answer::Never]);
    let verdict = moderation.judge("x").await;
    assert_eq!(verdict, blocked("消息不合规"));
    // Likewise while a token is fetched.
    service.void_tokens();
    service.stall_tokens();
    assert_eq!(moderation.judge("x").await, blocked("消息不合规"));
}

#[actix_web::test]
async fn the_breaker_opens_and_closes() {
    let service = StandIn::start(COMPLIANT);
    let (moderation, clock) = moderation(settings(service.address));
    let failures = limits::MODERATION_FAILURES as usize;
    service.next(vec![Answer::Status(503); failures]);
    for _ in 0..failures + 10 {
        assert_eq!(moderation.judge("x").await, blocked("消息不合规"));
    }
    assert_eq!(service.seen().texts.len(), failures);
    clock.advance(limits::MODERATION_PAUSE);
    service.next([Answer::Status(503)]);
    moderation.judge("a probe").await;
    moderation.judge("left alone").await;
    assert_eq!(service.seen().texts.len(), failures + 1);
    clock.advance(limits::MODERATION_PAUSE);
    assert_eq!(moderation.judge("a probe").await, Verdict::Pass);
    assert_eq!(moderation.judge("and on").await, Verdict::Pass);

    // What is wrong with one text, or too fast, is no outage.
    service.next(vec![Answer::Json(AUDIT_FAILED); 2 * failures]);
    for _ in 0..2 * failures {
        moderation.judge("x").await;
    }
    assert_eq!(moderation.judge("x").await, Verdict::Pass);
}

#[actix_web::test]
async fn nobody_there_is_an_error() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let (moderation, _) = moderation(settings(address));
    assert_eq!(moderation.judge("x").await, blocked("消息不合规"));
}

#[actix_web::test]
async fn the_word_list_comes_first() {
    let service = StandIn::start(COMPLIANT);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("words.txt");
    fs::write(&path, "badword\n脏.话\n").unwrap();
    let with_words = |settings| Chat { words_file: Some(path.clone()), ..settings };
    let both = with_words(settings(service.address));
    let both = Moderation::new(&both, Clock::system()).unwrap();
    assert_eq!(both.judge("a BadWord").await, blocked("消息不合规"));
    assert_eq!(both.judge("脏x话").await, blocked("消息不合规"));
    assert_eq!(service.seen().texts.len(), 0);
    assert_eq!(both.judge("fine").await, Verdict::Pass);
    assert_eq!(service.seen().texts, ["fine"]);

    let words_only = Moderation::new(&with_words(off()), Clock::system()).unwrap();
    assert!(words_only.is_on());
    assert_eq!(words_only.judge("badword").await, blocked("消息不合规"));
    assert_eq!(words_only.judge("fine").await, Verdict::Pass);
    fs::write(&path, "(\n").unwrap();
    let fault = Moderation::new(&with_words(off()), Clock::system()).err();
    assert!(matches!(fault.as_deref(), Some([ModerationFault::Words(_)])));
}

#[test]
fn a_bad_base_url_is_a_fault() {
    for bad in ["", "aip.baidubce.com", "ftp://x", "http://", "https://x/?a=b", "https://x/#y"] {
        let settings = Chat { baidu_base_url: bad.to_owned(), ..settings(([127, 0, 0, 1], 1).into()) };
        let fault = Moderation::new(&settings, Clock::system()).err();
        assert!(matches!(fault.as_deref(), Some([ModerationFault::Url { .. }])), "{bad}");
    }
}

/// Where a test's log goes.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl io::Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[actix_web::test]
async fn warnings_come_once_a_second_without_text_or_keys() {
    let page = Page::default();
    let writer = page.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone()).finish();
    let _log = tracing::subscriber::set_default(subscriber);
    let service = StandIn::start(COMPLIANT);
    let (moderation, clock) = moderation(settings(service.address));
    let text = "CANARY-text";
    let echo = r#"{"error_code":18,"error_msg":"Open api qps request limit reached"}"#;
    for _ in 0..3 {
        service.next([Answer::Json(echo), Answer::Status(500), Answer::Cut]);
        for _ in 0..3 {
            moderation.judge(text).await;
        }
        moderation.judge(text).await;
        clock.advance(Duration::from_secs(1));
    }
    service.refuse_keys();
    service.void_tokens();
    for _ in 0..limits::MODERATION_FAILURES + 1 {
        moderation.judge(text).await;
        clock.advance(Duration::from_secs(1));
    }
    let written = String::from_utf8(page.0.lock().clone()).unwrap();
    let warnings = written.matches("Baidu.OnError").count();
    assert_eq!(warnings, 3 + limits::MODERATION_FAILURES as usize + 1, "{written}");
    for part in ["qps request limit", "invalid_client", "left alone"] {
        assert!(written.contains(part), "{part}: {written}");
    }
    assert!(!written.contains("CANARY") && !written.contains("token-"), "{written}");
}

/// Also shows that the client finds its crypto provider.
#[actix_web::test]
async fn a_certificate_of_nobody_is_refused() {
    let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = rustls_pki_types::PrivatePkcs8KeyDer::from(own.signing_key.serialize_der());
    let server = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key.into())
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    actix_web::rt::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            assert!(acceptor.accept(stream).await.is_err());
        }
    });
    let baidu = Chat { baidu_base_url: format!("https://{address}"), ..settings(address) };
    let censor = Censor::new(&baidu, Clock::system()).unwrap();
    let fault = censor.judge("x").await.unwrap_err();
    assert!(matches!(&fault, baidu::CensorFault::Unreachable(why) if why.contains("certificate")), "{fault}");
}
