//! What other instances and services say (`docs/protocols/group.md §7`). Any of it may come twice.

use std::sync::Arc;

use super::Forum;
use crate::older::group::{
    code::Code,
    courier::Parcel,
    post::{Notice, Post, group_channel},
    streams::{Event, NewMessage, Notification, Receipt, Received},
};

impl Forum {
    /// Does what comes, for ever, unless another worker thread does or there is no Redis.
    pub async fn listen(self: &Arc<Self>) {
        let Some(mut inbox) = self.inbox.lock().take() else {
            return;
        };
        while let Some(Received { event, receipt }) = inbox.recv().await {
            self.hear(event, receipt).await;
        }
    }

    async fn hear(self: &Arc<Self>, event: Event, receipt: Receipt) {
        match event {
            Event::Message(message) => return self.take_in(message, receipt),
            Event::Notification(notification) => {
                let (user, notice) = split(notification);
                if !self.is_echo(&user, &notice) {
                    self.show_notice(&user, &notice);
                }
            }
            Event::StoreNotification(notification) => {
                let (user, notice) = split(notification);
                if self.keep_notice(&user, notice, None).await.is_err() {
                    // It comes again.
                    return drop(receipt);
                }
            }
            Event::MemberAdded(member) => match self.enrol_quietly(&member.group_id, &member.user_id) {
                Ok(Some(told)) => {
                    if self.kept(told).await.is_err() {
                        return drop(receipt);
                    }
                }
                Ok(None) => {}
                Err(code) => {
                    tracing::error!(?code, "a member that a stream names is not added")
                }
            },
            Event::MemberRemoved(member) => match self.expel(&member.group_id, &member.user_id, false) {
                Ok(Some(told)) => {
                    if self.kept(told).await.is_err() {
                        return drop(receipt);
                    }
                }
                Ok(None) | Err(Code::NoGroup) => {}
                Err(code) => {
                    tracing::error!(?code, "a member that a stream names is not removed")
                }
            },
            Event::VerifyProgress(progress) => self.show_progress(&progress),
        }
        receipt.done();
    }

    /// A message that was sent elsewhere: kept here as well, so that history and resuming are the same on every
    /// instance.
    fn take_in(self: &Arc<Self>, message: NewMessage, receipt: Receipt) {
        // It comes again, and what is behind it after it.
        if self.courier.is_full(&group_channel(&message.group_id)) {
            return drop(receipt);
        }
        let id = message.message_id.clone();
        // Taken before it is looked for: between the two it could have come to disk.
        if !self.arriving.lock().insert(id.clone()) {
            return receipt.done();
        }
        match self.shelf.find(&id) {
            Ok(None) => {}
            Ok(Some(_)) => {
                self.arriving.lock().remove(&id);
                return receipt.done();
            }
            Err(error) => {
                self.arriving.lock().remove(&id);
                self.told(&error);
                return drop(receipt);
            }
        }
        let post = post(message);
        // Cannot fail: texts and numbers.
        let json = serde_json::to_string(&post).unwrap_or_default();
        if self.registry.read().get(&post.group_id).is_none() {
            // Nobody is a member; who watches the channel by another protocol gets it.
            self.arriving.lock().remove(&id);
            self.courier.hand_over(Parcel::Publish {
                channel: group_channel(&post.group_id),
                id: crate::core::message::EntryId::Item(id.into()),
                message: super::sending::message(&post, json),
                is_ephemeral: false,
            });
            return receipt.done();
        }
        let forum = Arc::clone(self);
        self.number(post, json, None, None, move |outcome| {
            forum.arriving.lock().remove(&id);
            match outcome {
                Ok(()) => receipt.done(),
                // It comes again.
                Err(error) => {
                    forum.told(&error);
                }
            }
        });
    }
}

fn post(message: NewMessage) -> Post {
    Post {
        message_id: message.message_id,
        group_id: message.group_id,
        sender_id: message.sender_id,
        sender_name: message.sender_name,
        sender_avatar: message.sender_avatar,
        msg_type: u8::try_from(message.msg_type).unwrap_or(1),
        content: message.content,
        image_url: message.image_url,
        created_at: u64::try_from(message.created_at).unwrap_or_default(),
    }
}

fn split(notification: Notification) -> (String, Notice) {
    let notice = Notice {
        notification_id: notification.notification_id,
        kind: notification.kind,
        title: notification.title,
        content: notification.content,
        created_at: u64::try_from(notification.created_at).unwrap_or_default(),
    };
    (notification.user_id, notice)
}
