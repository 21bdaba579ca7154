//! `GET notifications`, `GET notifications/unread-count`: those of a user, the newest first.

use serde_json::{Value, json};

use super::{ApiRequest, ApiResult};
use crate::older::group::repository::StoredNotification;

impl ApiRequest<'_> {
    pub(super) async fn notifications(&self) -> ApiResult {
        let user = self.user(self.parameter("user_id"))?;
        let page = self.page()?;
        let (skip, size) = (page.skip, page.size);
        let (found, total, unread) =
            self.groups().beside(move |groups| groups.notifications(&user, skip, size)).await?;
        Ok(json!({
            "total": total,
            "unread_count": unread,
            "notifications": found.iter().map(shown).collect::<Vec<_>>(),
            "page": page.number,
            "page_size": size,
        }))
    }

    pub(super) async fn unread_notifications(&self) -> ApiResult {
        self.must_be_get()?;
        let user = self.user(self.parameter("user_id"))?;
        let count = self.groups().beside(move |groups| groups.unread_notifications(&user)).await?;
        Ok(json!({"count": count}))
    }
}

fn shown(StoredNotification { notification, is_read }: &StoredNotification) -> Value {
    json!({
        "notification_id": notification.notification_id,
        "type": notification.kind,
        "title": notification.title,
        "content": notification.content,
        "is_read": is_read,
        "created_at": notification.created_at,
    })
}
