//! `POST notifications`: keeps a notification for its users and sends it to those who are online.

use serde_json::{Value, json};

use super::{
    ApiRequest, ApiResult,
    fields::{id, text, users},
};
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
        let users = users(&body)?;
        let text = |name: &'static str| text(&body, name).map(Option::unwrap_or_default);
        let notification = Notification {
            user_id: String::new(),
            notification_id: id(&body, "notification_id")?.unwrap_or_else(|| format!("notif_{}", uuid())),
            kind: text("type")?,
            title: text("title")?,
            content: text("content")?,
            created_at: match &body["created_at"] {
                Value::Null => self.groups().seconds(),
                seconds => seconds.as_u64().ok_or(Code::WrongType("created_at", "Unix seconds"))?,
            },
        };
        if notification.title.is_empty() && notification.content.is_empty() {
            return Err(Code::Missing("content"));
        }
        if notification.notification_id.len() > limits::MESSAGE_ID_BYTES {
            return Err(Code::BadParameter("notification_id"));
        }
        let mut count = 0;
        for user in users {
            let own = Notification { user_id: user.user, ..notification.clone() };
            count += usize::from(self.groups().notify(own).await?);
        }
        Ok(json!({"notification_id": notification.notification_id, "notified": count}))
    }
}
