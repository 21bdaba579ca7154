//! A request as the calls see it: who asks, and what stands in its query and body.

use std::sync::Arc;

use actix_web::{HttpRequest, http::header::AUTHORIZATION};
use serde_json::{Value, json};

use super::fields::JsonObject;
use crate::{
    actors::refusals::Reason,
    edge::http::{body::Body, query::Query},
    limits,
    older::group::{code::Code, endpoint::GroupEndpoint, groups::Groups},
};

pub struct ApiRequest<'a> {
    pub group: &'a GroupEndpoint,
    pub http: &'a HttpRequest,
    pub query: Query,
    pub body: Body,
}

/// The page of a list that is asked for.
pub struct ListPage {
    /// From 1.
    pub number: usize,
    pub size: usize,
    /// What comes before it.
    pub skip: usize,
}

impl ListPage {
    /// What is on it of `total`, as it is answered.
    pub fn answer(&self, name: &str, listed: Vec<Value>, total: usize) -> Value {
        json!({name: listed, "total": total, "page": self.number, "page_size": self.size})
    }
}

/// Each refuses by [`Code`] what is not as it says.
impl ApiRequest<'_> {
    pub fn groups(&self) -> &Arc<Groups> {
        &self.group.shared.groups
    }

    pub fn check_address(&self) -> Result<(), Code> {
        let address = self.group.ingress.client_address(self.http);
        self.group.shared.ip_filter.check(address).map_err(|_| {
            self.groups().counters.count(|figures| figures.refused += 1);
            Code::Blocked
        })
    }

    /// A user by its token; none: a service by its key, which may ask for anybody.
    fn caller(&self) -> Result<Option<Arc<str>>, Code> {
        let (access, groups) = (self.group.shared.access.get(), self.groups());
        let headers = self.http.headers();
        if let Some(key) = headers.get("X-Service-Key") {
            if access.is_service(key.as_bytes()) {
                return Ok(None);
            }
            self.note_failure();
            return Err(Code::Unauthorized);
        }
        let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = bearer.and_then(|value| value.strip_prefix("Bearer ")).map(str::trim);
        let reason = match access.check(token.ok_or(Code::Unauthorized)?, &groups.clock) {
            Ok(pass) if !pass.has_expired(groups.clock.now()) => return Ok(Some(pass.user)),
            Ok(_) => None,
            Err(reason) => reason,
        };
        self.note_failure();
        Err(reason.map_or(Code::Expired, Code::WrongClaim))
    }

    fn note_failure(&self) {
        let ingress = &self.group.ingress;
        ingress
            .note_refusal(self.http, Reason::Token, || "group: a token or the key of a service is refused".to_owned());
        self.group.shared.note_failure(ingress.client_address(self.http));
    }

    pub fn must_be_service(&self) -> Result<(), Code> {
        if self.caller()?.is_none() { Ok(()) } else { Err(Code::ForServices) }
    }

    /// The user that a request is about: a user's own, or the one that a service names.
    pub fn user(&self, named: Option<String>) -> Result<Arc<str>, Code> {
        let named = named.filter(|name| !name.is_empty());
        match (self.caller()?, named) {
            (Some(own), Some(named)) if *own != *named => Err(Code::ForOneself),
            (Some(own), _) => Ok(own),
            (None, named) => named.map(Arc::from).ok_or(Code::NoUser),
        }
    }

    /// Members of the group, and services.
    pub fn must_read(&self, group: &str) -> Result<(), Code> {
        let caller = self.caller()?;
        if group.is_empty() {
            return Err(Code::Missing("group_id"));
        }
        caller.map_or(Ok(()), |user| self.groups().check_member(group, &user))
    }

    /// One that is not empty.
    pub fn parameter(&self, name: &str) -> Option<String> {
        self.query.get(name).filter(|value| !value.is_empty()).map(str::to_owned)
    }

    /// A whole number of at least `least`; more than `most` counts as that.
    pub fn number(&self, name: &'static str, default: usize, least: usize, most: usize) -> Result<usize, Code> {
        let Some(text) = self.parameter(name) else {
            return Ok(default);
        };
        match text.parse::<usize>() {
            Ok(number) if number >= least => Ok(number.min(most)),
            _ => Err(Code::TooSmall { name, least }),
        }
    }

    pub fn page(&self) -> Result<ListPage, Code> {
        let number = self.number("page", 1, 1, 1 << 32)?;
        let size = self.number("page_size", limits::GROUP_PAGE, 1, limits::GROUP_PAGE_MAX)?;
        Ok(ListPage { number, size, skip: (number - 1).saturating_mul(size) })
    }

    /// The body, an object with no other fields than these: what is misspelt must not look as if it had been done.
    pub fn object(&self, fields: &[&str]) -> Result<JsonObject<'_>, Code> {
        JsonObject::parse(&self.body, fields)?.ok_or(Code::BadBody("the body must be a JSON object"))
    }
}
