//! `POST groups/{id}/members` adds, `DELETE` removes: `user_id`, `user_ids` or `members`.

use actix_web::http::Method;
use serde_json::json;

use super::{ApiRequest, ApiResult};

/// Members that come or go: one, or several by one of the first two.
const FIELDS: [&str; 7] = ["members", "user_ids", "user_id", "name", "username", "avatar", "avatar_url"];

impl ApiRequest<'_> {
    pub(super) async fn change_members(&self, group: &str) -> ApiResult {
        self.must_be(&[Method::POST, Method::DELETE], "GET, POST, DELETE")?;
        self.must_be_service()?;
        if self.http.method() == Method::POST {
            let added = self.groups().add(group, &self.object(&FIELDS)?.users()?).await?;
            return Ok(json!({"added": added}));
        }
        let users: Vec<String> = match self.parameter("user_id") {
            Some(users) => users.split(',').map(str::to_owned).collect(),
            None => self.object(&FIELDS)?.users()?.into_iter().map(|one| one.user).collect(),
        };
        let removed = self.groups().remove(group, &users).await?;
        Ok(json!({"removed": removed}))
    }
}
