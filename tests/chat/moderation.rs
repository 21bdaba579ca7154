//! Moderation on the way of a message: `protocols/chat.md §5, §7, §8`. What the service is asked and answers in detail is
//! shown beside the code (src/protocols/chat/moderation/tests.rs).

use std::{net::SocketAddr, sync::mpsc, thread::JoinHandle, time::Duration};

use actix_web::{App, HttpResponse, HttpServer, web};
use letshare_server::config::{ChatCompat, Config, Moderated};
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::oneshot;
use url::form_urlencoded;

use crate::chat::house::House;

const BLOCKED: &str = "消息包含敏感内容";

/// Stands in for Baidu: what a text says of itself decides. Ends with its owner.
struct Censor {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

async fn judge(body: web::Bytes) -> HttpResponse {
    let mut pairs = form_urlencoded::parse(&body);
    let text = pairs.find(|(name, _)| name == "text");
    let text = text.map(|(_, text)| text.into_owned()).unwrap_or_default();
    let (conclusion, number) = match &*text {
        "evil" => ("不合规", 2),
        "doubtful" => ("疑似", 3),
        "unknown" => ("审核失败", 4),
        "slow" => std::future::pending().await,
        _ => ("合规", 1),
    };
    HttpResponse::Ok()
        .json(json!({"log_id": 1, "conclusion": conclusion, "conclusionType": number}))
}

impl Censor {
    fn start() -> Self {
        let (started, on_start) = mpsc::channel();
        let (stop, on_stop) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let token = async || {
                    HttpResponse::Ok().json(json!({"access_token": "t", "expires_in": 2_592_000}))
                };
                let server = HttpServer::new(move || {
                    App::new()
                        .route("/oauth/2.0/token", web::post().to(token))
                        .route(
                            "/rest/2.0/solution/v1/text_censor/v2/user_defined",
                            web::post().to(judge),
                        )
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
        Self {
            address: on_start.recv().expect("it starts"),
            stop: Some(stop),
            thread: Some(thread),
        }
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
    let made = ann
        .asks(
            "create_group",
            json!({"group_name": "g", "member_ids": [8]}),
        )
        .await;
    let group = made["data"]["group_id"].as_str().expect("an id").to_owned();
    ann.refused(
        "send_message",
        json!({"to_user_id": 8, "content": "evil"}),
        10007,
        BLOCKED,
    )
    .await;
    let data = json!({"group_id": group, "content": "evil"});
    ann.refused("send_group_message", data, 3008, BLOCKED).await;
    ann.refused("broadcast", json!({"message": "evil"}), 10007, BLOCKED)
        .await;
    let body = json!({"to_user_id": 8, "content": "evil"});
    let answer = house.post("/api/ws/send-message", 7, &body).await;
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (403, &json!(10007))
    );
    let answer = house
        .post("/api/ws/broadcast", 7, &json!({"message": "evil"}))
        .await;
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (403, &json!(10007))
    );
    assert!(bob.received_so_far().await.is_empty());
    for room in ["private_7_8", &*group] {
        let page = house
            .get(&format!("/api/ws/messages?room_id={room}"), 7)
            .await
            .json();
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
    for (suspect, on_error) in [
        (Moderated::Block, Moderated::Allow),
        (Moderated::Allow, Moderated::Block),
    ] {
        let house = censor.house(|config| {
            config.chat.baidu_suspect = suspect;
            config.chat.baidu_on_error = on_error;
            config.chat.baidu_timeout = Duration::from_millis(200);
        });
        let mut ann = house.connect(7).await;
        for (content, choice) in [
            ("doubtful", suspect),
            ("unknown", on_error),
            ("slow", on_error),
        ] {
            let answer = ann
                .asks("send_message", json!({"to_user_id": 8, "content": content}))
                .await;
            let expected = if choice == Moderated::Allow {
                10003
            } else {
                10007
            };
            assert_eq!(answer["code"], expected, "{content}");
        }
    }
}

/// A slow judgement holds up its sender only, and what follows stays in order.
#[tokio::test]
async fn a_slow_judgement_holds_up_its_sender_only() {
    let censor = Censor::start();
    let house = censor.house(|config| config.chat.baidu_timeout = Duration::from_secs(1));
    let (mut ann, mut bob) = (house.connect(7).await, house.connect(8).await);
    ann.send("send_message", json!({"to_user_id": 8, "content": "slow"}))
        .await;
    ann.send("send_message", json!({"to_user_id": 8, "content": "fine"}))
        .await;
    let data = json!({"to_user_id": 8, "content": "mine"});
    bob.send("send_message", data).await;
    for content in ["mine", "slow", "fine"] {
        let mut push = bob.data().await;
        while push["type"] == "message_sent" {
            push = bob.data().await;
        }
        assert_eq!(push["content"], content);
    }
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
    ann.refused(
        "send_message",
        json!({"to_user_id": 8, "content": "a bed"}),
        10007,
        &text,
    )
    .await;
    let data = json!({"group_id": "group_1", "content": "a bad one"});
    ann.refused("send_group_message", data, 3008, &text).await;
}
