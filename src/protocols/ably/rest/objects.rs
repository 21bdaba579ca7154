//! Objects by HTTP (`docs/protocols/ably.md §10.8`): shown as they are, and changed by id or by path.
//!
//! A path is followed on the objects as they are when the request comes, as a client follows it on those that it has.

use std::cell::RefCell;

use actix_web::web;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bytestring::ByteString;
use rand::RngExt as _;
use serde::Serialize;

use crate::{
    core::{
        capability::Operation,
        command::Publish,
        message::{Body, EntryId},
        objects::{
            Action, ObjectId, ObjectOperation, Snapshot, Type, Value,
            path::{self, Place, Step},
        },
    },
    error::{Fault, Found},
    ids::Timestamp,
    limits,
    protocols::ably::{
        messages::common_id,
        objects::check_size,
        rest::{
            answer::RestAnswer,
            call::{Call, Caller},
            publish::{Target, drawn_id},
        },
        wire::{self, ObjectView, WireObjectOperation},
    },
};

/// GET `/channels/{c}/object[/{id}]?path=&compact=`.
pub async fn get(call: &Call<'_>, channel: String, id: Option<&str>) -> Result<RestAnswer, Fault> {
    let (caller, _, channel) = call.channel(channel, &[Operation::ObjectSubscribe])?;
    let is_compact = match call.query.get("compact") {
        None | Some("true" | "1") => true,
        Some("false" | "0") => false,
        Some(other) => {
            let (found, rule) = (Found::text(other), "true or false");
            return Err(Fault::BadParameter { name: "compact", found, rule });
        }
    };
    let objects = call.broker().objects(&channel, None).await?.objects;
    let from = known(&objects, id.map_or_else(|| Some(ObjectId::root()), |id| ObjectId::parse(&id.into())), id)?;
    let path = call.query.get("path").unwrap_or_default();
    let steps = path::parse(path);
    if steps.contains(&Step::Every) {
        let (found, rule) = (Found::text(path), "a path without *, which leads to one place");
        return Err(Fault::BadParameter { name: "path", found, rule });
    }
    let places = objects.follow(&from, &steps, &mut limits::OBJECTS_VISITED.clone()).ok_or_else(|| too_long(path))?;
    let place = places.into_iter().next().ok_or_else(|| Fault::PathUnknown { found: Found::text(path) })?;
    let view = ObjectView { objects: &objects, format: call.form.body, is_compact, seen: RefCell::default() };
    call.long_answer(caller.access.app.id, call.encode(&view.place(place)))
}

/// What a change is answered with.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Changed<'a> {
    channel: &'a str,
    message_id: String,
    /// Those that are concerned, the new ones first.
    object_ids: Vec<String>,
}

/// POST `/channels/{c}/object`.
pub async fn operate(call: &Call<'_>, channel: String, payload: &mut web::Payload) -> Result<RestAnswer, Fault> {
    let caller = call.caller()?;
    let target = Target::of(&caller, channel, Operation::ObjectPublish)?;
    let (format, body) = call.body_of(&caller, payload).await?;
    let asked = wire::decode_objects(format, &body)?;
    let given = common_id(asked.iter().map(|operation| operation.id.as_ref()))?;
    let now = call.broker().objects(target.channel(), None).await?;
    let operations = operations(call, &caller, asked, &now.objects)?;
    let mut object_ids = ids_of(&operations);
    // Whoever has them while they change has them copied.
    drop(now);
    let id = given.clone().unwrap_or_else(drawn_id);
    let message_id = match &id {
        EntryId::Base(id) | EntryId::Item(id) => id.to_string(),
        EntryId::Frame { .. } | EntryId::Serial => String::new(),
    };
    target.put(call, Publish::new(id, Body::Objects(operations))).await?;
    // It may have been done by another request with this id, with objects of that one.
    if given.is_some()
        && let Some(done) = call.broker().objects(target.channel(), given).await?.published
    {
        object_ids = ids_of(done.objects());
    }
    let changed = Changed { channel: &target.name.base, message_id, object_ids };
    Ok(RestAnswer::created(call.encode(&changed)))
}

/// The objects that operations are on, each once.
fn ids_of(operations: &[ObjectOperation]) -> Vec<String> {
    let mut ids: Vec<String> = Vec::new();
    for ObjectOperation { object, .. } in operations {
        if !ids.iter().any(|known| known == object.as_str()) {
            ids.push(object.to_string());
        }
    }
    ids
}

/// What is asked for, as operations on objects by their ids.
fn operations(
    call: &Call<'_>,
    caller: &Caller,
    asked: Vec<WireObjectOperation>,
    objects: &Snapshot,
) -> Result<Vec<ObjectOperation>, Fault> {
    let mut changes = Changes { objects, now: call.now(), left: limits::OBJECTS_VISITED, operations: Vec::new() };
    asked.into_iter().try_for_each(|operation| changes.add(operation))?;
    let (mut operations, client_id) = (changes.operations, caller.identity.attribute(None)?);
    operations.iter_mut().for_each(|operation| operation.client_id.clone_from(&client_id));
    check_size(&operations, &call.rest.shared.settings)?;
    Ok(operations)
}

/// An object that there is.
fn known(objects: &Snapshot, id: Option<ObjectId>, named: Option<&str>) -> Result<ObjectId, Fault> {
    let there = id.filter(|id| id.is_root() || objects.get(id).is_some());
    let there = there.ok_or_else(|| Fault::ObjectUnknown { found: Found::optional(named) })?;
    match objects.get(&there) {
        Some(object) if object.head.deleted.is_some() => Err(Fault::ObjectDeleted { id: there.as_str().into() }),
        _ => Ok(there),
    }
}

fn too_long(path: &str) -> Fault {
    let rule = "at most 64 keys, and no more than 100000 entries that the paths of one request take a look at";
    Fault::BadParameter { name: "path", found: Found::text(path), rule }
}

/// Operations of one request, each on one object.
struct Changes<'a> {
    objects: &'a Snapshot,
    now: Timestamp,
    /// Entries that paths may still take a look at.
    left: usize,
    operations: Vec<ObjectOperation>,
}

impl Changes<'_> {
    fn add(&mut self, operation: WireObjectOperation) -> Result<(), Fault> {
        let path = operation.path.clone();
        let read = operation.read(self.now)?;
        let created = match read.action {
            Action::CreateMap(_) => Some(Type::Map),
            Action::CreateCounter(_) => Some(Type::Counter),
            _ => None,
        };
        let (Some(kind), action) = (created, &read.action) else {
            return match (read.object, path) {
                (None, None) => Err(Fault::NoObjectNamed),
                (Some(object), None) => {
                    let object = known(self.objects, Some(object.clone()), Some(object.as_str()))?;
                    self.push(object, read.action)
                }
                (from, Some(path)) => self.change_all(&from.unwrap_or_else(ObjectId::root), &path, &read.action),
            };
        };
        let object = match read.object {
            Some(object) if read.is_verified => object,
            Some(object) => {
                let rule =
                    "none for mapCreate and counterCreate; mapCreateWithObjectId and counterCreateWithObjectId name it";
                return Err(Fault::invalid_object("objectId", object.as_str(), rule));
            }
            None => {
                let nonce: [u8; 12] = rand::rng().random();
                ObjectId::of(kind, "", &BASE64_URL_SAFE_NO_PAD.encode(nonce), self.now)
            }
        };
        self.push(object.clone(), action.clone())?;
        if let Some(path) = path {
            self.set_at(&path, &object)?;
        }
        Ok(())
    }

    fn push(&mut self, object: ObjectId, action: Action) -> Result<(), Fault> {
        let operation = ObjectOperation::new(object, action);
        operation.check_fits()?;
        self.operations.push(operation);
        if self.operations.len() > limits::FRAME_ITEMS {
            return Err(Fault::TooManyMessages { limit: limits::FRAME_ITEMS });
        }
        Ok(())
    }

    /// Every object of the right type that a path leads to.
    fn change_all(&mut self, from: &ObjectId, path: &str, action: &Action) -> Result<(), Fault> {
        let from = known(self.objects, Some(from.clone()), Some(from.as_str()))?;
        let places = self.objects.follow(&from, &path::parse(path), &mut self.left).ok_or_else(|| too_long(path))?;
        if places.is_empty() {
            return Err(Fault::PathUnknown { found: Found::text(path) });
        }
        let wanted = action.fits();
        let fitting = places.iter().filter_map(|place| match place {
            Place::Object(id) if wanted.is_none_or(|wanted| wanted == id.kind()) => Some((*id).clone()),
            _ => None,
        });
        let fitting: Vec<ObjectId> = fitting.collect();
        if fitting.is_empty() {
            let found = match places.first() {
                Some(Place::Object(id)) if id.kind() == Type::Map => "a map",
                Some(Place::Object(_)) => "a counter",
                _ => "a value that is no object",
            };
            let rule = if wanted == Some(Type::Counter) { "a counter" } else { "a map" };
            return Err(Fault::UnfitForPath { found, rule });
        }
        fitting.into_iter().try_for_each(|id| self.push(id, action.clone()))
    }

    /// Sets a new object in each map that the path leads to without its last key.
    fn set_at(&mut self, path: &str, object: &ObjectId) -> Result<(), Fault> {
        let mut steps = path::parse(path);
        let Some(Step::Key(key)) = steps.pop() else {
            let (found, rule) = (Found::text(path), "a path that ends in the key of the new object");
            return Err(Fault::BadParameter { name: "path", found, rule });
        };
        let root = ObjectId::root();
        let parents = self.objects.follow(&root, &steps, &mut self.left).ok_or_else(|| too_long(path))?;
        if parents.is_empty() {
            return Err(Fault::PathUnknown { found: Found::text(path) });
        }
        let maps = parents.iter().filter_map(|place| match place {
            Place::Object(id) if id.kind() == Type::Map => Some((*id).clone()),
            _ => None,
        });
        let maps: Vec<ObjectId> = maps.collect();
        if maps.is_empty() {
            return Err(Fault::UnfitForPath { found: "no map before its last key", rule: "a map" });
        }
        let set = |key: &ByteString| Action::Set(key.clone(), Value::Object(object.clone()));
        maps.into_iter().try_for_each(|map| self.push(map, set(&key)))
    }
}
