//! Notifications of users.

use serde_json::{Value, json};

use super::{ApiRequest, ApiResult};
use crate::{
    limits,
    older::group::{
        code::Code,
        message::{Notification, uuid},
        repository::StoredNotification,
    },
};

/// A notification and whom it is for.
const FIELDS: [&str; 8] =
    ["user_id", "user_ids", "members", "notification_id", "type", "title", "content", "created_at"];

impl ApiRequest<'_> {
    /// The newest first.
    pub(super) async fn notifications(&self) -> ApiResult {
        let user = self.user(self.parameter("user_id"))?;
        let page = self.page()?;
        let (skip, size) = (page.skip, page.size);
        let (found, total, unread) =
            self.groups().beside(move |groups| groups.notifications(&user, skip, size)).await?;
        let mut answer = page.answer("notifications", found.iter().map(shown).collect(), total);
        answer["unread_count"] = unread.into();
        Ok(answer)
    }

    pub(super) async fn unread_notifications(&self) -> ApiResult {
        let user = self.user(self.parameter("user_id"))?;
        let count = self.groups().beside(move |groups| groups.unread_notifications(&user)).await?;
        Ok(json!({"count": count}))
    }

    /// Keeps a notification for its users and sends it to those who are online.
    pub(super) async fn notify(&self) -> ApiResult {
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

    pub(super) async fn read_notifications(&self) -> ApiResult {
        let body = self.object(&["user_id", "notification_ids"])?;
        let user = self.user(body.id("user_id")?)?;
        let ids = body.ids("notification_ids")?;
        let count = self.groups().read_notifications(&user, Some(ids)).await?;
        Ok(json!({"updated_count": count}))
    }

    pub(super) async fn read_all_notifications(&self) -> ApiResult {
        let named = if self.body.is_empty() { None } else { self.object(&["user_id"])?.id("user_id")? };
        let user = self.user(named)?;
        let count = self.groups().read_notifications(&user, None).await?;
        Ok(json!({"updated_count": count}))
    }
}

fn shown(StoredNotification { notification, is_read }: &StoredNotification) -> Value {
    let mut shown = json!(notification);
    shown["is_read"] = (*is_read).into();
    shown
}
