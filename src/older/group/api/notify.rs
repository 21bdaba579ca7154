//! `POST notifications`: keeps a notification for its users and sends it to those who are online.

use serde_json::json;

use super::{ApiRequest, ApiResult};
use crate::{
    limits,
    older::group::{
        code::Code,
        message::{Notification, uuid},
    },
};

/// A notification and whom it is for.
const FIELDS: [&str; 8] =
    ["user_id", "user_ids", "members", "notification_id", "type", "title", "content", "created_at"];

impl ApiRequest<'_> {
    pub(super) async fn notify(&self) -> ApiResult {
        self.must_be(&[actix_web::http::Method::POST], "GET, POST")?;
        self.must_be_service()?;
        let body = self.object(&FIELDS)?;
        let users = body.users()?;
        let text = |name: &'static str| body.text(name).map(Option::unwrap_or_default);
        let notification = Notification {
            user_id: String::new(),
            notification_id: body.id("notification_id")?.unwrap_or_else(|| format!("notif_{}", uuid())),
            kind: text("type")?,
            title: text("title")?,
            content: text("content")?,
            created_at: match body.json("created_at") {
                None => self.groups().seconds(),
                Some(seconds) => seconds.parse().map_err(|_| Code::WrongType("created_at", "Unix seconds"))?,
            },
        };
        if notification.title.is_empty() && notification.content.is_empty() {
            return Err(Code::Missing("content"));
        }
        if notification.notification_id.len() > limits::MESSAGE_ID_BYTES {
            return Err(Code::BadNotificationId);
        }
        let mut count = 0;
        for user in users {
            let own = Notification { user_id: user.user, ..notification.clone() };
            count += usize::from(self.groups().notify(own).await?);
        }
        Ok(json!({"notification_id": notification.notification_id, "notified": count}))
    }
}
