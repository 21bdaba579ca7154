//! Moderation on the way of a message: `docs/protocols/chat.md §5, §7, §8`. What the service is asked and answers in detail is
//! shown beside the code (src/older/chat/moderation/tests.rs).

use std::{net::SocketAddr, sync::mpsc, thread::JoinHandle, time::Duration};

use actix_web::{App, HttpResponse, HttpServer, web};
use letshare_server::config::{ChatCompat, Config, Moderated};
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::{Notify, oneshot};
use url::form_urlencoded;

use crate::{
    chat::house::House,
    support::{PATIENCE, eventually},
};

const BLOCKED: &str = "消息包含敏感内容";

/// Stands in for Baidu: what a text says of itself decides. Ends with its owner.
struct Censor {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    held: web::Data<Held>,
}

/// What becomes of a text that says `held`.
#[derive(Default)]
struct Held {
    /// It is here.
    asked: Notify,
    /// It is judged.
    released: Notify,
}

async fn judge(body: web::Bytes, held: web::Data<Held>) -> HttpResponse {
    let mut pairs = form_urlencoded::parse(&body);
    let text = pairs.find(|(name, _)| name == "text");
    let text = text.map(|(_, text)| text.into_owned()).unwrap_or_default();
    let (conclusion, number) = match &*text {
        "evil" => ("不合规", 2),
        "doubtful" => ("疑似", 3),
        "unknown" => ("审核失败", 4),
        "slow" => std::future::pending().await,
        "held" => {
            held.asked.notify_one();
            held.released.notified().await;
            ("合规", 1)
        }
        _ => ("合规", 1),
    };
    HttpResponse::Ok().json(json!({"log_id": 1, "conclusion": conclusion, "conclusionType": number}))
}

impl Censor {
    fn start() -> Self {
        let (started, on_start) = mpsc::channel();
        let (stop, on_stop) = oneshot::channel::<()>();
        let held = web::Data::new(Held::default());
        let shared = held.clone();
        let thread = std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let token = async || HttpResponse::Ok().json(json!({"access_token": "t", "expires_in": 2_592_000}));
                let server = HttpServer::new(move || {
                    App::new()
                        .app_data(shared.clone())
                        .route("/oauth/2.0/token", web::post().to(token))
                        .route("/rest/2.0/solution/v1/text_censor/v2/user_defined", web::post().to(judge))
                });
                let server = server.workers(1).disable_signals().bind("127.0.0.1:0");
                let server = server.expect("a free port");
                started.send(server.addrs()[0]).expect("the test waits");
                let server = server.run();
                let handle = server.handle();
                actix_web::rt::spawn(server);
                let _ = on_stop.await;
                handle.stop(false).await;
            });
        });
        Self { address: on_start.recv().expect("it starts"), stop: Some(stop), thread: Some(thread), held }
    }

    fn house(&self, adjust: impl FnOnce(&mut Config)) -> House {
        let url = format!("http://{}", self.address);
        House::start(|config| {
            let chat = &mut config.chat;
            chat.baidu_api_key = "key".into();
            chat.baidu_secret_key = "secret".into();
            chat.baidu_base_url = url;
            adjust(config);
        })
    }
}

impl Drop for Censor {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// §5, §7: what is blocked is neither stored nor sent.
#[tokio::test]
async fn blocked_messages_end_there() {
    let censor = Censor::start();
    let house = censor.house(|_| {});
    let (mut ann, mut bob) = (house.connect(7).await, house.connect(8).await);
    let made = ann.asks("create_group", json!({"group_name": "g", "member_ids": [8]})).await;
    let group = made["data"]["group_id"].as_str().expect("an id").to_owned();
    ann.refused("send_message", json!({"to_user_id": 8, "content": "evil"}), 10007, BLOCKED).await;
    let data = json!({"group_id": group, "content": "evil"});
    ann.refused("send_group_message", data, 3008, BLOCKED).await;
    ann.refused("broadcast", json!({"message": "evil"}), 10007, BLOCKED).await;
    let body = json!({"to_user_id": 8, "content": "evil"});
    let answer = house.post("/api/ws/send-message", 7, &body).await;
    assert_eq!((answer.status, &answer.json()["code"]), (403, &json!(10007)));
    let answer = house.post("/api/ws/broadcast", 7, &json!({"message": "evil"})).await;
    assert_eq!((answer.status, &answer.json()["code"]), (403, &json!(10007)));
    assert!(bob.received_so_far().await.is_empty());
    for room in ["private_7_8", &*group] {
        let page = house.get(&format!("/api/ws/messages?room_id={room}"), 7).await.json();
        assert_eq!(page["data"]["total"], 0, "{room}");
    }
    // Only texts are judged (§8); and what is fine goes on.
    for (content, kind) in [("evil", 2), ("fine", 1)] {
        let data = json!({"to_user_id": 8, "content": content, "message_type": kind});
        assert_eq!(ann.asks("send_message", data).await["code"], 0);
        assert_eq!(bob.data().await["content"], content);
    }
}

/// §8: what the service is not sure of, and what it does not say.
#[tokio::test]
async fn doubts_and_failures() {
    let censor = Censor::start();
    for (suspect, on_error) in [(Moderated::Block, Moderated::Allow), (Moderated::Allow, Moderated::Block)] {
        let house = |timeout| {
            censor.house(|config| {
                config.chat.baidu_suspect = suspect;
                config.chat.baidu_on_error = on_error;
                config.chat.baidu_timeout = timeout;
            })
        };
        let (patient, hasty) = (house(PATIENCE), house(Duration::from_millis(200)));
        for (house, content, choice) in
            [(&patient, "doubtful", suspect), (&patient, "unknown", on_error), (&hasty, "slow", on_error)]
        {
            let mut ann = house.connect(7).await;
            let answer = ann.asks("send_message", json!({"to_user_id": 8, "content": content})).await;
            let expected = if choice == Moderated::Allow { 10003 } else { 10007 };
            assert_eq!(answer["code"], expected, "{content}");
        }
    }
}

/// A slow judgement holds up its sender only, and what follows stays in order; also in the history.
#[tokio::test]
async fn a_slow_judgement_holds_up_its_sender_only() {
    let censor = Censor::start();
    let house = censor.house(|config| config.chat.baidu_timeout = PATIENCE);
    let (mut ann, mut bob) = (house.connect(7).await, house.connect(8).await);
    ann.send("send_message", json!({"to_user_id": 8, "content": "held"})).await;
    ann.send("send_message", json!({"to_user_id": 8, "content": "fine"})).await;
    censor.held.asked.notified().await;
    let data = json!({"to_user_id": 7, "content": "mine"});
    assert_eq!(bob.asks("send_message", data).await["code"], 0);
    assert_eq!(ann.data().await["content"], "mine");
    censor.held.released.notify_one();
    for content in ["held", "fine"] {
        assert_eq!(ann.data().await["type"], "message_sent");
        assert_eq!(bob.data().await["content"], content);
    }
    let page = house.get("/api/ws/messages?room_id=private_7_8", 7).await;
    let page = page.json();
    let stored = page["data"]["messages"].as_array().expect("messages");
    let stored: Vec<_> = stored.iter().map(|message| &message["content"]).collect();
    assert_eq!(stored, ["fine", "held", "mine"]);
}

/// §7: it was stored after what the user has got meanwhile, so it comes with what was missed.
#[tokio::test]
async fn a_message_that_was_judged_for_long_is_not_lost() {
    let censor = Censor::start();
    let house = censor.house(|config| {
        config.chat.baidu_timeout = PATIENCE;
        config.chat.replay_on_connect = true;
    });
    let (mut ann, mut carol) = (house.connect(7).await, house.connect(9).await);
    let mut bob = house.connect(8).await;
    ann.send("send_message", json!({"to_user_id": 8, "content": "held"})).await;
    censor.held.asked.notified().await;
    carol.asks("send_message", json!({"to_user_id": 8, "content": "quick"})).await;
    assert_eq!(bob.data().await["content"], "quick");
    bob.leave().await;
    // What bob has read is known a moment after that.
    eventually(async || {
        let mut bob = house.connect(8).await;
        let again = bob.received_so_far().await;
        bob.leave().await;
        again.is_empty().then_some(())
    })
    .await;
    eventually(async || (house.users(7).await == json!([7, 9])).then_some(())).await;
    censor.held.released.notify_one();
    assert_eq!(ann.next().await["code"], 10003);
    let mut bob = house.connect(8).await;
    assert_eq!(bob.data().await["content"], "held");
}

/// §8: the local list comes first.
#[tokio::test]
async fn the_word_list() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("words.txt");
    std::fs::write(&file, "b[ae]d\n").expect("written");
    let house = House::start(|config| {
        config.chat.words_file = Some(file);
        config.chat.compat = ChatCompat::Source;
    });
    let mut ann = house.connect(7).await;
    let text = format!("{BLOCKED}: 消息不合规");
    ann.refused("send_message", json!({"to_user_id": 8, "content": "a bed"}), 10007, &text).await;
    let data = json!({"group_id": "group_1", "content": "a bad one"});
    ann.refused("send_group_message", data, 3008, &text).await;
}
