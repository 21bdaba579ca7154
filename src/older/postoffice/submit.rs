//! A letter of a client: is it one, may its sender write it, and who gets it (`docs/protocols/postoffice.md §3, §4, §6`).

use std::{collections::HashSet, sync::Arc};

use bytestring::ByteString;
use serde_json::json;

use crate::{
    actors::transport::context::TransportContext,
    config::{self, FromCheck, Validation},
    core::{
        command::Publish,
        message::{Data, EntryId, Extras, Message, Payload},
        rate::frame_cost,
    },
    ids::ClientId,
    limits,
    older::postoffice::{
        connection::Connection,
        delivery::NewLetter,
        elsewhere,
        letter::{Letter, Names},
        refusal::{About, Refusal, cut},
        thread::THREAD_FIELDS,
        validation,
    },
};

/// A frame of a client.
pub fn submit(connection: &Connection, text: &ByteString, transport: &mut TransportContext<'_>) {
    let Some(letter) = Letter::read(text) else {
        return connection.refuse(&Refusal::NotJson, &About::default(), transport);
    };
    let about = About::letter(&letter);
    let (names, wrong) = match check(connection, &letter) {
        Ok(recipients) => recipients,
        Err(refusal) => return connection.refuse(&refusal, &about, transport),
    };
    for place in wrong {
        connection.refuse(&Refusal::NoName(place), &about, transport);
    }
    if names.is_empty() {
        return;
    }
    let message = message(connection, &letter);
    // Each copy is a message of its own, and may be written to disk.
    let more = u32::try_from(names.len() - 1).unwrap_or(u32::MAX);
    transport.spend(frame_cost(text.len()).saturating_mul(more));
    if connection.is_shared() {
        if let Err(refusal) = elsewhere::send(connection, &letter, message, names, &about, transport) {
            connection.refuse(&refusal, &about, transport);
        }
        return;
    }
    for name in names {
        let about = about.to(&name);
        if let Err(refusal) = deliver(connection, &letter, &message, &name, &about, transport) {
            connection.refuse(&refusal, &about, transport);
        }
    }
}

/// Who is named in `to` and `cc`, each once; and the places where something else than a name stands.
type Recipients = (Vec<String>, Vec<String>);

fn check(connection: &Connection, letter: &Letter<'_>) -> Result<Recipients, Refusal> {
    let settings = &connection.shared.settings;
    let recipients = recipients(settings, letter)?;
    validation::check(letter, settings.validation, settings.require_base64)?;
    check_sender(connection, letter)?;
    Ok(recipients)
}

fn recipients(settings: &config::PostOffice, letter: &Letter<'_>) -> Result<Recipients, Refusal> {
    let is_off = settings.validation == Validation::Off;
    let (mut all, mut wrong, mut unreadable) = (Vec::new(), Vec::new(), None);
    for field in ["to", "cc"] {
        match letter.names(field, is_off) {
            Names::Listed(names, places) => {
                all.extend(names);
                wrong.extend(places.into_iter().map(|place| format!("{field}[{place}]")));
            }
            Names::Wrong if !is_off => return Err(Refusal::NoNames(field)),
            Names::Nobody | Names::Wrong if field == "to" => return Err(Refusal::NoRecipient),
            Names::Wrong => unreadable = Some(field.to_owned()),
            Names::Nobody => {}
        }
    }
    let (count, limit) = (all.len() + wrong.len(), settings.max_recipients);
    if count > limit {
        return Err(Refusal::TooManyRecipients { count, limit });
    }
    wrong.extend(unreadable);
    let mut seen = HashSet::new();
    all.retain(|name| seen.insert(name.clone()));
    Ok((all, wrong))
}

/// Nobody writes as somebody else (`§1`).
fn check_sender(connection: &Connection, letter: &Letter<'_>) -> Result<(), Refusal> {
    let own = &*connection.mailbox.name;
    let shared = &connection.shared;
    let is_allowed = |from: &str| match shared.settings.from_check {
        FromCheck::Off => true,
        FromCheck::Strict => from == own,
        FromCheck::Known if connection.is_shared() => true,
        FromCheck::Known => from == own || connection.principal.covers(from) || shared.mailboxes.find(from).is_none(),
    };
    match letter.senders().find(|from| !is_allowed(from)) {
        Some(from) => Err(Refusal::ForeignSender(cut(&from))),
        None => Ok(()),
    }
}

fn message(connection: &Connection, letter: &Letter<'_>) -> Message {
    let short = |field| letter.text(field).filter(|text| text.len() <= limits::EVENT_NAME_BYTES);
    // For whoever looks for a thread in the history of the channel.
    let headers = THREAD_FIELDS.into_iter().filter_map(|field| Some((field.into(), short(field)?.into())));
    let headers: Extras = headers.collect();
    let extras = (!headers.is_empty()).then(|| Box::new(Extras::from_iter([("headers".into(), json!(headers))])));
    Message {
        name: short("subject").unwrap_or_default().into(),
        payload: Payload::json(letter.delivered(connection.shared.settings.forward_token)),
        client_id: ClientId::new(&*connection.mailbox.name),
        extras,
    }
}

/// Gives a letter to one recipient; `about` names it in errors.
fn deliver(
    connection: &Connection,
    letter: &Letter<'_>,
    message: &Message,
    name: &str,
    about: &About<'static>,
    transport: &mut TransportContext<'_>,
) -> Result<(), Refusal> {
    let shared = &connection.shared;
    let mailbox = shared.mailboxes.find(name).ok_or_else(|| Refusal::UnknownRecipient(cut(name)))?;
    let publisher = Some(transport.connection());
    let publish = |id, is_ephemeral| Publish { publisher, is_ephemeral, ..Publish::message(id, message.clone()) };
    if letter.is_heartbeat() {
        let (channel, is_read) = {
            let owner = &mailbox.lock().owner;
            (owner.channel.clone(), !owner.readers.is_empty())
        };
        // Without readers nobody misses it.
        if is_read {
            transport.send(&channel, publish(EntryId::Serial, true))?;
        }
        return Ok(());
    }
    let Data::Text(text) = &message.payload.data else {
        return Ok(());
    };
    let id = letter.shown("id").filter(|id| id.len() <= limits::MESSAGE_ID_BYTES);
    let new = NewLetter {
        text: text.as_bytes().clone(),
        level: letter.level(),
        id: id.map(|id| Arc::from(format!("{}\0{id}", connection.mailbox.name))),
    };
    let (handle, is_silent, about) = (transport.handle(), shared.is_silent(), about.clone());
    let on_loss = move || {
        if !is_silent {
            handle.send(vec![Refusal::NotStored.frame(&about)]);
        }
    };
    shared.put(&mailbox, new, |channel, id| transport.send(channel, publish(id, false)), on_loss)
}
