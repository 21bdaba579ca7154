//! The members of the server are those of a client that follows RTP2, whatever is said late, twice or by which transport;
//! and who has left for good is no ghost.

use std::collections::BTreeMap;

use super::*;
use crate::core::message::Data;

const CLIENTS: [&str; 2] = ["a", "b"];
/// Whose members they are; by these attachments, each of a transport.
const SPEAKER: u8 = 1;
const TRANSPORTS: [u8; 2] = [1, 2];

/// What one client does.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A new frame by one of the transports.
    Say {
        transport: usize,
        client: usize,
        action: PresenceAction,
    },
    /// Any frame so far once more: an answer was lost, or a transport is slow.
    Repeat {
        transport: usize,
        frame: usize,
    },
    /// A new frame that enters somebody as some frame so far did, by the id that it had.
    Reenter {
        transport: usize,
        frame: usize,
    },
    Attach {
        transport: usize,
    },
    Cut {
        transport: usize,
    },
    /// Seconds go by.
    Wait(u64),
    /// The clock of the server is set back.
    SetBack,
    /// Somebody attaches and begins with a sync.
    Newcomer,
}

fn step() -> impl Strategy<Value = Step> {
    use PresenceAction::{Enter, Leave, Update};
    let (transport, client, frame) = (0usize..2, 0usize..2, any::<prop::sample::Index>());
    let action = prop_oneof![Just(Enter), Just(Update), Just(Leave)];
    let frame = frame.prop_map(|frame| frame.index(1 << 16));
    prop_oneof![
        4 => (transport.clone(), client, action)
            .prop_map(|(transport, client, action)| Step::Say { transport, client, action }),
        1 => (transport.clone(), frame.clone()).prop_map(|(transport, frame)| Step::Repeat { transport, frame }),
        4 => (transport.clone(), frame).prop_map(|(transport, frame)| Step::Reenter { transport, frame }),
        3 => transport.clone().prop_map(|transport| Step::Attach { transport }),
        2 => transport.prop_map(|transport| Step::Cut { transport }),
        2 => (1u64..200).prop_map(Step::Wait),
        1 => Just(Step::SetBack),
        1 => Just(Step::Newcomer),
    ]
}

/// A member or an event of one, as it stands on the wire.
#[derive(Clone, Debug, PartialEq)]
struct Told {
    action: PresenceAction,
    id: String,
    connection: String,
    client: String,
    data: Data,
    timestamp: Timestamp,
}

/// The map of a client, written from RTP2 alone.
#[derive(Clone, Default)]
struct Follower(BTreeMap<(String, String), Told>);

impl Follower {
    fn of(members: &[Arc<crate::core::presence::Member>]) -> Self {
        let told = members.iter().map(|member| Told {
            action: PresenceAction::Enter,
            id: member.id.to_string(),
            connection: member.connection.to_string(),
            client: member.client_id.as_str().to_owned(),
            data: member.payload.data.clone(),
            timestamp: member.timestamp,
        });
        Self(told.map(|told| ((told.connection.clone(), told.client.clone()), told)).collect())
    }

    fn hear(&mut self, entry: &Entry) {
        for (index, event) in entry.presence().iter().enumerate() {
            let told = Told {
                action: event.action,
                id: event.id.as_ref().map_or_else(|| entry.item_id(index).to_string(), ToString::to_string),
                connection: entry.publisher.unwrap().to_string(),
                client: event.client_id.as_str().to_owned(),
                data: event.payload.data.clone(),
                timestamp: entry.timestamp,
            };
            let key = (told.connection.clone(), told.client.clone());
            if self.0.get(&key).is_some_and(|known| !is_newer(&told, known)) {
                continue;
            }
            if told.action == PresenceAction::Leave {
                self.0.remove(&key);
            } else {
                self.0.insert(key, told);
            }
        }
    }

    /// Who is there by which id and with what.
    fn members(&self) -> Vec<(&str, &str, &Data)> {
        self.0.values().map(|told| (&*told.client, &*told.id, &told.data)).collect()
    }
}

/// RTP2b.
fn is_newer(told: &Told, known: &Told) -> bool {
    let synthesized = |told: &Told| !told.id.starts_with(&told.connection);
    if synthesized(told) || synthesized(known) {
        return told.timestamp >= known.timestamp;
    }
    let numbers = |told: &Told| {
        let mut parts = told.id.split(':').skip(1).map(|number| number.parse::<u64>().unwrap());
        (parts.next().unwrap(), parts.next().unwrap())
    };
    numbers(told) > numbers(known)
}

/// A channel, the client that speaks, and those who follow.
struct Play {
    channel: Shell,
    now: Now,
    /// All frames so far: the events with the ids that they have.
    frames: Vec<Vec<PresenceEvent>>,
    followers: Vec<Follower>,
    newcomers: u8,
}

impl Play {
    fn new() -> Self {
        let channel = Shell::new("demo1".into(), Members::new(3, []));
        let mut play =
            Self { channel, now: at(1_000), frames: Vec::new(), followers: vec![Follower::default()], newcomers: 0 };
        play.attach(0);
        play
    }

    fn attach(&mut self, transport: usize) {
        let mut attach = attach(TRANSPORTS[transport], None);
        attach.connection = connection(SPEAKER);
        self.channel.attach(attach);
    }

    fn act(&mut self, step: Step) {
        let serial = self.frames.len();
        let effects = match step {
            Step::Say { transport, client, action } => {
                let id = format!("{}:{serial}:0", connection(SPEAKER));
                self.send(transport, serial, event(action, CLIENTS[client], id, serial))
            }
            Step::Repeat { transport, frame } if serial > 0 => {
                let number = frame % serial;
                let events = self.frames[number].clone();
                self.publish(transport, number, events)
            }
            Step::Reenter { transport, frame } if serial > 0 => {
                let before = &self.frames[frame % serial][0];
                let id = before.id.as_ref().unwrap().to_string();
                let mut again = event(PresenceAction::Enter, before.client_id.as_str().to_owned(), id, 0);
                again.payload = before.payload.clone();
                self.send(transport, serial, again)
            }
            Step::Repeat { .. } | Step::Reenter { .. } => Vec::new(),
            Step::Attach { transport } => {
                self.attach(transport);
                Vec::new()
            }
            Step::Cut { transport } => {
                let mut gone = leave(TRANSPORTS[transport], 15);
                gone.connection = connection(SPEAKER);
                self.channel.leave(self.now, gone)
            }
            Step::Wait(seconds) => {
                let Now { wall, uptime } = self.now;
                let wall = Timestamp::from_millis(wall.millis() + 1_000 * seconds);
                self.now = Now { wall, uptime: uptime + Duration::from_secs(seconds) };
                self.channel.expire(self.now)
            }
            Step::SetBack => {
                self.now.wall = Timestamp::from_millis(self.now.wall.millis() / 2);
                Vec::new()
            }
            Step::Newcomer => {
                self.newcomers += 1;
                let mut attach = attach(100 + self.newcomers % 100, None);
                attach.filter = Filter::new(Modes::PRESENCE_SUBSCRIBE, true);
                let effects = self.channel.attach(attach);
                for effect in &effects {
                    if let Outcome::Effect(Effect::Attached { attached, .. }) = effect {
                        self.followers.push(Follower::of(&attached.members));
                    }
                }
                effects
            }
        };
        for entry in appended(&effects) {
            self.followers.iter_mut().for_each(|follower| follower.hear(entry));
        }
    }

    fn send(&mut self, transport: usize, serial: usize, event: PresenceEvent) -> Vec<Outcome> {
        self.frames.push(vec![event.clone()]);
        self.publish(transport, serial, vec![event])
    }

    fn publish(&mut self, transport: usize, serial: usize, events: Vec<PresenceEvent>) -> Vec<Outcome> {
        let id = EntryId::Frame { connection: connection(SPEAKER), msg_serial: serial as u64 };
        let mut command = publish(TRANSPORTS[transport], id, Body::Presence(events));
        command.publisher = Some(connection(SPEAKER));
        publish_to(&mut self.channel, self.now, command)
    }
}

fn event(action: PresenceAction, client: impl Into<bytestring::ByteString>, id: String, data: usize) -> PresenceEvent {
    let payload = Payload { data: Data::Text(data.to_string().into()), ..Payload::default() };
    PresenceEvent { id: Some(id.into()), action, client_id: ClientId::new(client).unwrap(), payload, extras: None }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// findings A3: in any order, over two transports.
    #[test]
    fn the_members_are_those_of_clients_that_follow_rtp2(steps in prop::collection::vec(step(), 0..60)) {
        let mut play = Play::new();
        for step in steps {
            play.act(step);
            let members = Follower::of(&play.channel.members().all());
            for follower in &play.followers {
                prop_assert_eq!(follower.members(), members.members(), "after {:?}", step);
            }
        }
    }

    /// findings A3: a client as SDKs are: what it wanted while it was away goes first, in order, then it enters again whom
    /// it has not heard to have left, by the old ids. What it wanted last is what is.
    #[test]
    fn a_client_that_comes_back_has_what_it_wanted_last(
        rounds in prop::collection::vec(
            (prop::collection::vec((0usize..2, 0usize..3), 0..4), any::<bool>(), 0u64..120), 1..8,
        ),
    ) {
        let mut play = Play::new();
        // By client: what the channel was last told to hold, and what the client's own map has (RTP17).
        let mut wanted: BTreeMap<usize, (Option<usize>, bool)> = BTreeMap::new();
        let mut own: BTreeMap<usize, usize> = BTreeMap::new();
        for (number, (wishes, hears, away)) in rounds.into_iter().enumerate() {
            let transport = number % 2;
            play.attach(transport);
            for (client, wish) in wishes {
                let action = [PresenceAction::Enter, PresenceAction::Update, PresenceAction::Leave][wish];
                let frame = play.frames.len();
                play.act(Step::Say { transport, client, action });
                let stays = action != PresenceAction::Leave;
                wanted.insert(client, (stays.then_some(frame), false));
                if hears && stays {
                    own.insert(client, frame);
                } else if hears {
                    own.remove(&client);
                }
            }
            for frame in own.values() {
                play.act(Step::Reenter { transport, frame: *frame });
            }
            let present: BTreeMap<String, Data> = play.channel.members().all().iter()
                .map(|member| (member.client_id.as_str().to_owned(), member.payload.data.clone())).collect();
            for (client, (frame, was_away)) in &wanted {
                let data = present.get(CLIENTS[*client]);
                match frame {
                    None => prop_assert_eq!(data, None, "a ghost"),
                    // Away for so long that it has left, it enters again what it knows of: perhaps not that.
                    Some(frame) if !was_away || own.get(client) == Some(frame) => {
                        prop_assert_eq!(data, Some(&Data::Text(frame.to_string().into())), "old data");
                    }
                    Some(_) => {}
                }
            }
            play.act(Step::Cut { transport });
            // At most as long as the connection may be resumed.
            play.act(Step::Wait(away));
            wanted.values_mut().for_each(|(_, was_away)| *was_away |= away >= 15);
        }
    }
}
