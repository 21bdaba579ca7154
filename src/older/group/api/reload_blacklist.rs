//! `POST blacklist/reload`: reads the file of the blacklist again (`docs/protocols/group.md §8`).

use serde_json::json;

use super::{ApiRequest, ApiResult};
use crate::older::group::code::Code;

impl ApiRequest<'_> {
    pub(super) fn reload_blacklist(&self) -> ApiResult {
        self.must_be_post()?;
        self.must_be_service()?;
        match self.group.shared.ip_filter.reload() {
            Ok(networks) => Ok(json!({"networks": networks})),
            Err(faults) => {
                tracing::error!("the old blacklist of the group protocol stays in use: {faults}");
                Err(Code::BadBlacklist(faults.to_string()))
            }
        }
    }
}
