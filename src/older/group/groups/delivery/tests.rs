#![allow(clippy::unwrap_used)]

use std::{cell::RefCell, future::pending, rc::Rc};

use tokio::{sync::Notify, task::LocalSet};

use super::*;
use crate::{
    core::message::{EntryId, Message},
    older::group::message::group_channel,
};

/// Notes what is delivered; what goes to `stuck` waits until that is open.
#[derive(Default)]
struct Notes {
    delivered: RefCell<Vec<String>>,
    is_open: RefCell<bool>,
    changed: Notify,
}

impl Notes {
    async fn until(&self, count: usize) {
        while self.delivered.borrow().len() < count {
            self.changed.notified().await;
        }
    }

    async fn deliver(&self, channel: &ChannelName, deliveries: Vec<Delivery>) -> usize {
        if channel.as_str() == "group:stuck" && !*self.is_open.borrow() {
            pending::<()>().await;
        }
        let name = |delivery: &Delivery| match delivery {
            Delivery::Publish(publish) => match &publish.id {
                EntryId::Item(id) => id.to_string(),
                _ => String::new(),
            },
            Delivery::Attach { user } => format!("+{user}"),
            Delivery::Detach { user } => format!("-{user}"),
        };
        self.delivered.borrow_mut().extend(deliveries.iter().map(name));
        self.changed.notify_one();
        deliveries.len()
    }
}

fn message(name: &str) -> Delivery {
    Delivery::Publish(Box::new(Publish::message(EntryId::Item(name.into()), Message::default())))
}

/// findings C6: a group whose channel takes nothing holds up no other, and what waits for it stays in order, also when
/// another thread takes over.
#[tokio::test]
async fn a_congested_group_holds_up_no_other() {
    let (queues, notes) = (Rc::new(DeliveryQueues::default()), Rc::new(Notes::default()));
    let local = LocalSet::new();
    let run = || {
        let (queues, notes) = (Rc::clone(&queues), Rc::clone(&notes));
        local.spawn_local(async move {
            queues.run(async |channel: &ChannelName, all: Vec<Delivery>| notes.deliver(channel, all).await).await;
        })
    };
    let running = run();
    let (stuck, free) = (group_channel("stuck"), group_channel("free"));
    local
        .run_until(async {
            queues.push(stuck.clone(), message("s0"));
            for number in 0..100 {
                queues.push(free.clone(), message(&format!("f{number}")));
                queues.push(stuck.clone(), message(&format!("s{}", number + 1)));
            }
            queues.push(stuck.clone(), Delivery::Detach { user: "7".into() });
            queues.push(stuck.clone(), message("last"));
            notes.until(100).await;
        })
        .await;
    assert_eq!(*notes.delivered.borrow(), (0..100).map(|number| format!("f{number}")).collect::<Vec<_>>());
    assert_eq!(queues.waiting(), 103);

    running.abort();
    local.run_until(async { drop(running.await) }).await;
    notes.delivered.borrow_mut().clear();
    *notes.is_open.borrow_mut() = true;
    let running = run();
    local.run_until(notes.until(103)).await;
    let mut expected: Vec<_> = (0..=100).map(|number| format!("s{number}")).collect();
    expected.extend(["-7".to_owned(), "last".to_owned()]);
    assert_eq!(*notes.delivered.borrow(), expected);
    assert!(queues.queues.lock().is_empty());
    assert_eq!(queues.waiting(), 0);
    running.abort();
}

/// findings C6: what waits for one group is bounded, and refuses nothing of another.
#[test]
fn a_full_queue_refuses_its_own_group_alone() {
    let queues = DeliveryQueues::default();
    for _ in 0..limits::GROUP_OUTSTANDING_OF_ONE {
        assert!(!queues.is_full(&group_channel("g")));
        queues.push(group_channel("g"), message("m"));
    }
    assert!(queues.is_full(&group_channel("g")));
    assert!(!queues.is_full(&group_channel("h")));
    // By bytes.
    let large = Message { name: "x".repeat(limits::GROUP_MESSAGE_BYTES).into(), ..Message::default() };
    let large = Delivery::Publish(Box::new(Publish::message(EntryId::Item("l".into()), large)));
    for _ in 0..limits::GROUP_OUTSTANDING_BYTES_OF_ONE.div_ceil(limits::GROUP_MESSAGE_BYTES) {
        assert!(!queues.is_full(&group_channel("l")));
        queues.push(group_channel("l"), large.clone());
    }
    assert!(queues.is_full(&group_channel("l")));
    assert!(!queues.is_full(&group_channel("h")));
}
