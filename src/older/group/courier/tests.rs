#![allow(clippy::unwrap_used)]

use std::{cell::RefCell, future::pending, rc::Rc};

use tokio::{sync::Notify, task::LocalSet};

use super::*;

/// Notes what it carries; what goes to `stuck` waits until that is opened.
#[derive(Default)]
struct Notes {
    carried: RefCell<Vec<String>>,
    is_open: RefCell<bool>,
    changed: Notify,
}

impl Notes {
    async fn until(&self, count: usize) {
        while self.carried.borrow().len() < count {
            self.changed.notified().await;
        }
    }
}

impl Carry for Notes {
    async fn carry(&self, channel: &ChannelName, parcels: &VecDeque<Parcel>) -> usize {
        if channel.as_str() == "group:stuck" && !*self.is_open.borrow() {
            pending::<()>().await;
        }
        let name = |parcel: &Parcel| match parcel {
            Parcel::Publish { message, .. } => message.name.to_string(),
            Parcel::Welcome { user, .. } => format!("+{user}"),
            Parcel::Evict { user, .. } => format!("-{user}"),
        };
        self.carried.borrow_mut().extend(parcels.iter().map(name));
        self.changed.notify_one();
        parcels.len()
    }
}

fn message(group: &str, name: &str) -> Parcel {
    Parcel::Publish {
        channel: group_channel(group),
        id: EntryId::Serial,
        message: Message { name: name.into(), ..Message::default() },
        is_ephemeral: false,
    }
}

/// findings C6: a group whose channel takes nothing holds up no other, and what waits for it stays in order, also when
/// another thread takes over.
#[tokio::test]
async fn a_congested_group_holds_up_no_other() {
    let (courier, notes) = (Rc::new(Courier::default()), Rc::new(Notes::default()));
    let local = LocalSet::new();
    let run = || {
        let (courier, notes) = (Rc::clone(&courier), Rc::clone(&notes));
        local.spawn_local(async move { courier.run(&*notes).await })
    };
    let running = run();
    local
        .run_until(async {
            courier.hand_over(message("stuck", "s0"));
            for number in 0..100 {
                courier.hand_over(message("free", &format!("f{number}")));
                courier.hand_over(message("stuck", &format!("s{}", number + 1)));
            }
            courier.hand_over(Parcel::Evict { user: "7".into(), group: "stuck".into() });
            courier.hand_over(message("stuck", "last"));
            notes.until(100).await;
        })
        .await;
    assert_eq!(*notes.carried.borrow(), (0..100).map(|number| format!("f{number}")).collect::<Vec<_>>());
    assert_eq!(courier.outstanding(), 103);

    running.abort();
    local.run_until(async { drop(running.await) }).await;
    notes.carried.borrow_mut().clear();
    *notes.is_open.borrow_mut() = true;
    let running = run();
    local.run_until(notes.until(103)).await;
    let mut expected: Vec<_> = (0..=100).map(|number| format!("s{number}")).collect();
    expected.extend(["-7".to_owned(), "last".to_owned()]);
    assert_eq!(*notes.carried.borrow(), expected);
    assert!(courier.queues.lock().is_empty());
    assert_eq!(courier.outstanding(), 0);
    running.abort();
}

/// findings C6: what waits for one group is bounded, and refuses nothing of another.
#[test]
fn a_full_queue_refuses_its_own_group_alone() {
    let courier = Courier::default();
    for _ in 0..limits::GROUP_OUTSTANDING_OF_ONE {
        assert!(!courier.is_full(&group_channel("g")));
        courier.hand_over(message("g", "m"));
    }
    assert!(courier.is_full(&group_channel("g")));
    assert!(!courier.is_full(&group_channel("h")));
}
