use parking_lot::Mutex;
use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Charge { client: usize, kind: usize, bytes: usize },
    Set { charge: usize, bytes: usize },
    GiveBack { charge: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let bytes = 0..120_usize;
    let step = prop_oneof![
        3 => (0..4_usize, 0..Kind::ALL.len(), bytes.clone())
            .prop_map(|(client, kind, bytes)| Step::Charge { client, kind, bytes }),
        1 => (0..20_usize, bytes).prop_map(|(charge, bytes)| Step::Set { charge, bytes }),
        2 => (0..20_usize).prop_map(|charge| Step::GiveBack { charge }),
    ];
    proptest::collection::vec(step, 1..80)
}

/// What `account` must keep by the charges that are held: those of the clients below it.
fn held(charges: &[(usize, Charge)], clients: &[usize], kind: Option<Kind>) -> usize {
    let of_account = charges
        .iter()
        .filter(|(client, charge)| clients.contains(client) && kind.is_none_or(|kind| kind == charge.kind));
    of_account.map(|(_, charge)| charge.bytes()).sum()
}

proptest! {
    /// Two apps of two clients each. The sum of what is held is what each account keeps; none is ever over its limit;
    /// who is refused is told an account of its own line that has no room.
    #[test]
    fn charges_are_exact_and_shares_hold(steps in steps()) {
        let server = Account::server(300);
        let apps = [server.open(Level::App, 200), server.open(Level::App, 250)];
        let clients: Vec<Account> = (0..4).map(|n| apps[n / 2].open(Level::Client, 100 + 20 * n)).collect();
        let mut charges: Vec<(usize, Charge)> = Vec::new();
        for step in steps {
            let refused = match step {
                Step::Charge { client, kind, bytes } => match clients[client].charge(Kind::ALL[kind], bytes) {
                    Ok(charge) => { charges.push((client, charge)); None }
                    Err(full) => Some((client, bytes, full)),
                },
                Step::Set { charge, bytes } => charges.get_mut(charge).and_then(|(client, charge)| {
                    let more = bytes.saturating_sub(charge.bytes());
                    charge.set(bytes).err().map(|full| (*client, more, full))
                }),
                Step::GiveBack { charge } => {
                    if charge < charges.len() {
                        drop(charges.swap_remove(charge));
                    }
                    None
                }
            };
            let accounts = [(&server, vec![0, 1, 2, 3]), (&apps[0], vec![0, 1]), (&apps[1], vec![2, 3])];
            let own = clients.iter().enumerate().map(|(n, client)| (client, vec![n]));
            for (account, below) in accounts.into_iter().chain(own) {
                prop_assert_eq!(account.kept(), held(&charges, &below, None));
                prop_assert!(account.kept() <= account.limit());
                for kind in Kind::ALL {
                    prop_assert_eq!(account.kept_of(kind), held(&charges, &below, Some(kind)));
                }
            }
            if let Some((client, bytes, full)) = refused {
                let whose = match full.level {
                    Level::Server => &server,
                    Level::App => &apps[client / 2],
                    _ => &clients[client],
                };
                // Windows leave some of it to the others.
                let reserve = whose.0.reserve(full.kind, bytes, whose.allowance());
                prop_assert!(whose.kept() + bytes + reserve > whose.allowance(), "{full}: {whose:?}");
            }
        }
        drop(charges);
        prop_assert_eq!(server.kept(), 0);
    }
}

/// However many apps take all that they may, the next one finds something, and so does the next network of an app.
#[test]
fn the_next_one_finds_something() {
    for levels in [[Level::App, Level::Network], [Level::Network, Level::App]] {
        let above = Account::server(64 << 20);
        let mut held = Vec::new();
        for _ in 0..5 {
            let one = above.open(levels[0], 48 << 20).open(levels[1], 48 << 20);
            held.extend(std::iter::from_fn(|| one.charge(Kind::Inbound, 10_000).ok()));
        }
        let next = above.open(levels[0], 48 << 20);
        assert!(next.charge(Kind::Connection, 20_000).is_ok(), "{above:?}");
        drop(held);
        assert!(next.charge(Kind::Connection, 48 << 20).is_ok());
    }
}

/// Threads that charge the same account at once never take it over its limit, and leave nothing behind.
#[test]
fn threads_share_an_account() {
    let server = Account::server(1_000);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let client = server.open(Level::Client, 600);
                for bytes in (0..400).cycle().take(20_000) {
                    let charge = client.charge(Kind::Outbox, bytes);
                    assert!(server.kept() <= server.limit());
                    drop(charge);
                }
            });
        }
    });
    assert_eq!((server.kept(), server.kept_of(Kind::Outbox)), (0, 0));
}

/// What makes room for something else counts as gone; what is there already is never refused.
#[test]
fn what_takes_a_place_and_what_is_there_already() {
    let account = Account::mailboxes(100);
    let old = account.charge(Kind::Mailbox, 80).expect("room");
    assert_eq!(account.charge(Kind::Mailbox, 30).expect_err("no room").level, Level::Mailboxes);
    assert!(account.charge_instead(Kind::Mailbox, 101, old.bytes()).is_err());
    let new = account.charge_instead(Kind::Mailbox, 100, old.bytes()).expect("room");
    drop(old);
    assert_eq!(account.kept(), 100);
    let found = account.charge_anyway(Kind::Mailbox, 50);
    assert!(account.charge(Kind::Mailbox, 0).is_err(), "over its limit");
    drop((new, found));
    assert_eq!((account.kept(), account.kept_of(Kind::Mailbox)), (0, 0));
}

#[test]
fn a_refusal_names_whose_limit_it_is() {
    let server = Account::server(100);
    let app = server.open(Level::App, 60);
    let kept = app.charge(Kind::Window, 50).expect("room");
    let full = app.charge(Kind::Presence, 20).expect_err("no room");
    let text = "the app keeps all that it may: 60 bytes (presence; limits.app_share)";
    assert_eq!((full.level, full.to_string()), (Level::App, text.to_owned()));
    app.set_limit(120);
    let full = app.charge(Kind::Presence, 60).expect_err("no room");
    assert_eq!((full.level, app.kept()), (Level::Server, 50));
    drop(kept);
    assert_eq!(server.kept(), 0);
}

/// A charge that finds an account full has somebody make room there, as often as that helps, and not where none can be made.
#[test]
fn who_finds_no_room_has_it_made() {
    struct Windows(Mutex<Vec<Charge>>, Option<AppId>);
    impl Relief for Windows {
        fn relieve(&self, app: Option<AppId>) -> bool {
            assert_eq!(app, self.1);
            self.0.lock().pop().is_some()
        }
    }
    for is_server in [false, true] {
        let (app, limits) = (AppId::random(), if is_server { [100, 1_000] } else { [1_000, 100] });
        let server = Account::server(limits[0]);
        let account = server.open_app(app, limits[1]);
        let client = account.open(Level::Client, 90);
        // Windows leave a tenth of it.
        let windows: Vec<Charge> = std::iter::from_fn(|| account.charge(Kind::Window, 9).ok()).collect();
        assert_eq!((windows.len(), account.kept()), (10, 90));
        server.relieve_by(Box::new(Windows(Mutex::new(windows), (!is_server).then_some(app))));
        let charge = client.charge(Kind::Outbox, 60).expect("room is made");
        assert_eq!((account.kept_of(Kind::Window), account.kept()), (36, 96));
        assert_eq!(client.charge(Kind::Outbox, 31).expect_err("its own limit").level, Level::Client);
        assert!(account.charge(Kind::Window, 9).is_err());
        assert_eq!(account.kept_of(Kind::Window), 36);
        let rest = account.charge(Kind::Presence, 40).expect("room is made");
        assert!(account.charge(Kind::Presence, 1).is_err() && account.kept_of(Kind::Window) == 0);
        drop((charge, rest));
    }
}

/// Of what waits for the disk each app has its share of what the others have left, and windows take nothing from networks.
#[test]
fn what_one_app_takes_leaves_something_to_the_others() {
    let server = Account::server(10_000);
    server.bound(Kind::Store, 100);
    let apps = [0, 1].map(|_| server.open(Level::App, 5_000));
    apps.iter().for_each(|app| app.bound(Kind::Store, 50));
    let mut held: Vec<Charge> = std::iter::from_fn(|| apps[0].charge(Kind::Store, 5).ok()).collect();
    assert_eq!(apps[0].kept(), 50);
    held.extend(std::iter::from_fn(|| apps[1].charge(Kind::Store, 5).ok()));
    assert_eq!(apps[1].kept(), 25);
    let window = apps[1].charge(Kind::Window, 4_000).expect("room");
    let network = apps[1].open(Level::Network, 1_000);
    assert!(network.charge(Kind::Connection, 900).is_ok());
    drop(window);
}

/// A kind that has a bound of its own leaves the rest of the account to the others.
#[test]
fn a_kind_may_have_a_bound_of_its_own() {
    let server = Account::server(100);
    let app = server.open(Level::App, 60);
    app.bound(Kind::Window, 20);
    let kept = app.charge(Kind::Window, 15).expect("room");
    let full = app.charge(Kind::Window, 6).expect_err("no room");
    let text = "the app keeps all that it may: 20 bytes (window; history.total_bytes)";
    assert_eq!((full.level, full.to_string(), server.kept()), (Level::App, text.to_owned(), 15));
    assert!(app.charge(Kind::Presence, 45).is_ok());
    drop(kept);
    assert_eq!((server.kept(), app.kept_of(Kind::Window)), (0, 0));
}
