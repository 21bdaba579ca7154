//! Services that hang up in the middle of a request (docs/findings/core.md C8).

use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use super::*;

const PIPELINED: usize = 40;
const ROUNDS: usize = 12;

/// findings C8: a notification whose service resets its connection is kept and shown, or neither.
#[tokio::test]
async fn what_is_kept_is_shown_although_its_service_hangs_up() {
    let rig = Rig::start(|_| {});
    let mut client = rig.user("7").await;
    let mut shown = Vec::new();
    for round in 0..ROUNDS {
        let mut service = TcpStream::connect(rig.address).await.expect("the server listens");
        for number in 0..PIPELINED {
            let body =
                json!({"user_id": "7", "notification_id": format!("{round}-{number}"), "title": "t"}).to_string();
            let head = format!(
                "POST /api/notifications HTTP/1.1\r\nHost: h\r\nX-Service-Key: {KEY}\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            service.write_all(format!("{head}{body}").as_bytes()).await.expect("the connection is open");
        }
        shown.push(id(&mut client).await);
        service.set_zero_linger().expect("an open socket");
    }
    let mut fences = 0;
    eventually(async || {
        fences += 1;
        let fence = format!("fence-{fences}");
        let body = json!({"user_id": "7", "notification_id": fence, "title": "t"});
        data(&rig.service("POST", "/api/notifications", body).await);
        while let seen = id(&mut client).await
            && seen != fence
        {
            shown.push(seen);
        }
        // Requests that were cut off may still run: both are looked at until they agree.
        shown.sort_unstable();
        (kept(&rig).await == shown).then_some(())
    })
    .await;
}

async fn id(client: &mut Client) -> String {
    let notice = client.expect("notification").await;
    notice["message_id"].as_str().expect("an id").to_owned()
}

/// In order, without fences.
async fn kept(rig: &Rig) -> Vec<String> {
    let mut kept = Vec::new();
    for page in 1.. {
        let page = data(&rig.ask("7", &format!("/api/notifications?page={page}&page_size=100")).await);
        let notices = page["notifications"].as_array().expect("a list");
        if notices.is_empty() {
            break;
        }
        kept.extend(notices.iter().map(|notice| notice["notification_id"].as_str().expect("an id").to_owned()));
    }
    kept.retain(|id| !id.starts_with("fence"));
    kept.sort_unstable();
    kept
}
