//! Handing in a letter: is it one, may its sender write it, who gets it (`docs/protocols/postoffice.md §3, §4, §6`).

use std::{collections::HashSet, sync::Arc};

use bytestring::ByteString;
use serde_json::json;

use crate::{
    actors::transport::context::TransportContext,
    config::{FromCheck, Validation},
    core::{
        command::Publish,
        message::{Data, EntryId, Extras, Message, Payload},
    },
    ids::ClientId,
    limits,
    older::postoffice::{
        desk::Desk,
        letter::{Letter, Names},
        mailbox::Posted,
        office::{Refused, Sender},
        reply::{self, About, Code, cut},
    },
};

/// A frame of a client.
pub fn hand_in(desk: &Desk, text: &ByteString, transport: &mut TransportContext<'_>) {
    if !transport.may_send() {
        let text = "letters come faster than limits.publishes_per_second allows";
        return desk.tell(Code::RateLimited, text, About::default(), transport);
    }
    let Some(letter) = Letter::read(text) else {
        let text = "the frame is not a JSON object";
        return desk.tell(Code::BadJson, text, About::default(), transport);
    };
    let about = About::letter(&letter);
    let (names, wrong) = match recipients(desk, &letter) {
        Ok(recipients) => recipients,
        Err((code, text)) => return desk.tell(code, &text, about, transport),
    };
    if let Err(text) = desk.office.settings.rules.check(&letter) {
        return desk.tell(Code::InvalidField, &text, about, transport);
    }
    if let Err(text) = check_sender(desk, &letter) {
        return desk.tell(Code::FromRefused, &text, about, transport);
    }
    for place in wrong {
        let text = format!("field {place} must be the name of a mailbox");
        desk.tell(Code::InvalidField, &text, about.clone(), transport);
    }
    if names.is_empty() {
        return;
    }
    let message = message(desk, &letter);
    for name in names {
        if let Err((code, text)) = deliver(desk, &letter, &message, &name, &about, transport) {
            desk.tell(code, &text, about.to(&name), transport);
        }
    }
}

/// Each recipient once, and what in `to` and `cc` is none.
fn recipients(desk: &Desk, letter: &Letter<'_>) -> Result<(Vec<String>, Vec<String>), Refused> {
    let settings = &desk.office.settings;
    let is_off = settings.rules.level == Validation::Off;
    let invalid = |field: &str| {
        let text = format!("field {field} must be a string or an array of strings");
        (Code::InvalidField, text)
    };
    let mut listed = Vec::new();
    match letter.names("to", is_off) {
        Names::Listed(names, wrong) => listed.push(("to", names, wrong)),
        Names::Wrong if !is_off => return Err(invalid("to")),
        Names::Nobody | Names::Wrong => {
            return Err((Code::MissingTo, "the letter has no recipient in to".into()));
        }
    }
    let mut is_unread = false;
    match letter.names("cc", is_off) {
        Names::Listed(names, wrong) => listed.push(("cc", names, wrong)),
        Names::Wrong if !is_off => return Err(invalid("cc")),
        Names::Wrong => is_unread = true,
        Names::Nobody => {}
    }
    let count: usize = listed.iter().map(|(_, names, wrong)| names.len() + wrong.len()).sum();
    let limit = settings.max_recipients;
    if count > limit {
        let text = format!("to and cc have {count} recipients; postoffice.max_recipients allows {limit}");
        return Err((Code::InvalidField, text));
    }
    let (mut seen, mut each, mut unread) = (HashSet::new(), Vec::new(), Vec::new());
    for (field, names, wrong) in listed {
        let places = wrong.into_iter().map(|place| format!("{field}[{place}]"));
        unread.extend(places);
        each.extend(names.into_iter().filter(|name| seen.insert(name.clone())));
    }
    if is_unread {
        unread.push("cc".to_owned());
    }
    Ok((each, unread))
}

/// Nobody writes as somebody else (`§1`).
fn check_sender(desk: &Desk, letter: &Letter<'_>) -> Result<(), String> {
    let own = &*desk.room.name;
    for from in letter.senders() {
        let is_allowed = match desk.office.settings.from_check {
            FromCheck::Off => true,
            FromCheck::Strict => from == own,
            FromCheck::Known => from == own || desk.principal.covers(&from) || desk.office.find(&from).is_none(),
        };
        if !is_allowed {
            return Err(format!("{} is not the mailbox of this connection", cut(&from)));
        }
    }
    Ok(())
}

fn message(desk: &Desk, letter: &Letter<'_>) -> Message {
    let subject = letter.text("subject").filter(|text| text.len() <= limits::EVENT_NAME_BYTES);
    // For whoever looks for a thread in the history of the channel.
    let mut headers = Extras::new();
    for name in reply::THREAD_FIELDS {
        let text = letter.text(name).filter(|text| text.len() <= limits::EVENT_NAME_BYTES);
        if let Some(text) = text {
            headers.insert(name.into(), text.into());
        }
    }
    let extras = (!headers.is_empty()).then(|| {
        let mut extras = Extras::new();
        extras.insert("headers".into(), json!(headers));
        Box::new(extras)
    });
    Message {
        name: subject.unwrap_or_default().into(),
        payload: Payload::json(letter.delivered(desk.office.settings.forward_token)),
        client_id: ClientId::new(&*desk.room.name),
        extras,
    }
}

fn deliver(
    desk: &Desk,
    letter: &Letter<'_>,
    message: &Message,
    name: &str,
    about: &About<'_>,
    transport: &mut TransportContext<'_>,
) -> Result<(), Refused> {
    let Some(room) = desk.office.find(name) else {
        return Err((Code::UnknownRecipient, format!("no mailbox named {}", cut(name))));
    };
    let connection = transport.connection();
    let publish = |id, is_ephemeral| {
        let publish = Publish::message(id, message.clone());
        Publish { publisher: Some(connection), is_ephemeral, ..publish }
    };
    if letter.is_heartbeat() {
        let publish = publish(EntryId::Serial, true);
        // Without readers nobody misses it.
        let is_read = !room.mailbox.lock().readers.is_empty();
        return match is_read.then(|| transport.send(&room.channel, publish)) {
            Some(Err(fault)) => Err((reply::code_of(&fault), fault.to_string())),
            _ => Ok(()),
        };
    }
    let Data::Text(text) = &message.payload.data else {
        return Ok(());
    };
    let key = letter.shown("id").filter(|id| id.len() <= limits::MESSAGE_ID_BYTES);
    let posted = Posted {
        text: text.clone(),
        level: letter.level(),
        came: transport.now(),
        key: key.map(|id| Arc::from(format!("{}\0{id}", desk.room.name))),
    };
    let handle = transport.handle();
    let sender = || {
        let error = || reply::error(Code::MailboxFull, "the letter could not be stored", about.to(name));
        Sender { handle, error: (!desk.office.settings.is_silent).then(error) }
    };
    let send = |number| {
        let id = EntryId::Frame { connection: room.postmark, msg_serial: number };
        let publish = publish(id, false);
        transport.send(&room.channel, publish)
    };
    desk.office.post(&room, posted, sender, send)
}
