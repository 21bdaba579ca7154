//! Errors as Ably clients read them (`docs/protocols/ably.md §1.8, §3.4`).

use std::{borrow::Cow, collections::BTreeMap};

use serde::Serialize;

use crate::error::Fault;

/// An error; code, status and message are always all there (trap T5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorInfo {
    pub code: u32,
    pub status_code: u16,
    pub message: Cow<'static, str>,
    /// Where the code is explained.
    pub href: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub detail: BTreeMap<Cow<'static, str>, String>,
}

impl ErrorInfo {
    /// With one more detail.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.detail.insert(Cow::Borrowed(name), value.into());
        self
    }
}

impl From<&Fault> for ErrorInfo {
    fn from(fault: &Fault) -> Self {
        let code = fault.ably_code();
        Self {
            code,
            status_code: fault.http_status(),
            message: fault.to_string().into(),
            href: format!("https://help.ably.io/error/{code}"),
            detail: BTreeMap::new(),
        }
    }
}

/// The body of a REST answer that is an error; write it with [`super::encode_value`].
#[derive(Serialize)]
pub struct ErrorBody<'a> {
    pub error: &'a ErrorInfo,
}
