// Rooms of chat with npm `@ably/chat`, and spaces with `@ably/spaces` (docs/protocols/ably.md §11.12).

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { ChatClient, MessageReactionType, OrderBy } from '@ably/chat';
import spaces from '@ably/spaces';
import { FORMATS, Inbox, fresh, range, refused, startApp } from './app.mjs';

const LIMIT = { timeout: 60_000 };

// Published for `require`.
const Spaces = spaces.default;

let app;
before(async () => (app = await startApp()));
after(() => app?.stop());

/** A room as one client has it, attached. */
async function room(clientId, name, { options, ...more } = {}) {
  const client = await app.connected({ clientId, ...more });
  const room = await new ChatClient(client).rooms.get(name, options);
  await room.attach();
  return room;
}

function inbox(subscribe, pick = (event) => event) {
  const inbox = new Inbox();
  subscribe((event) => inbox.put(pick(event)));
  return inbox;
}

const plain = (value) => JSON.parse(JSON.stringify(value));

for (const [format, useBinaryProtocol] of Object.entries(FORMATS)) {
  test(`messages are sent, changed, deleted and read: ${format}`, LIMIT, async () => {
    const name = fresh('room');
    const [alice, bob] = await Promise.all([room('alice', name, { useBinaryProtocol }), room('bob', name)]);
    const heard = inbox((hear) => bob.messages.subscribe(hear));
    const said = { text: 'hello', metadata: { a: { b: 1 } }, headers: { h: 'x', n: 2 } };
    const sent = await alice.messages.send(said);
    assert.deepEqual(plain({ ...sent }), plain({ ...(await alice.messages.get(sent.serial)) }));
    const { text, metadata, headers, clientId, action } = sent;
    assert.deepEqual({ text, metadata, headers, clientId, action }, { ...said, clientId: 'alice', action: 'message.create' });
    assert.equal(sent.version.serial, sent.serial);

    const how = { description: 'why', metadata: { k: 'v' } };
    const updated = await alice.messages.update(sent.serial, { text: 'goodbye' }, how);
    assert.deepEqual([updated.text, updated.metadata, updated.headers], ['goodbye', {}, {}]);
    assert.deepEqual([updated.version.clientId, updated.version.description, updated.version.metadata], ['alice', 'why', { k: 'v' }]);
    assert.equal(+updated.timestamp, +sent.timestamp);
    assert.ok(updated.version.serial > sent.serial);
    const deleted = await alice.messages.delete(sent.serial, { description: 'gone' });
    assert.deepEqual([deleted.text, deleted.action], ['', 'message.delete']);

    const events = await heard.count(3);
    assert.deepEqual(events.map(({ type }) => type), ['message.created', 'message.updated', 'message.deleted']);
    const answers = [sent, updated, deleted];
    for (const [place, { message }] of events.entries()) {
      const of = ({ serial, text, metadata, headers, clientId, action, version }) =>
        plain({ serial, text, metadata, headers, clientId, action, version: { serial: version.serial, description: version.description } });
      assert.deepEqual(of(message), of(answers[place]));
    }
    const versions = await bob.messages.getVersions(sent.serial);
    assert.deepEqual(versions.items.map((item) => plain({ ...item })), answers.map((item) => plain({ ...item })));
    await refused(bob.messages.get('01722945600123-000@00000000000000ab:000'), 40400);
    await refused(bob.messages.get('nonsense'), 40003);
  });
}

test('history goes page by page, and ends where somebody came in', LIMIT, async () => {
  const name = fresh('room');
  const alice = await room('alice', name);
  for (const n of range(5)) await alice.messages.send({ text: `${n}` });
  const bob = await room('bob', name);
  const { historyBeforeSubscribe } = bob.messages.subscribe(() => {});
  await alice.messages.send({ text: '5' });
  const texts = ({ items }) => items.map(({ text }) => text);
  assert.deepEqual(texts(await historyBeforeSubscribe({ limit: 50 })), ['4', '3', '2', '1', '0']);
  let page = await bob.messages.history({ limit: 4, orderBy: OrderBy.OldestFirst });
  assert.deepEqual(texts(page), ['0', '1', '2', '3']);
  assert.ok(page.hasNext());
  page = await page.next();
  assert.deepEqual(texts(page), ['4', '5']);
  assert.ok(page.isLast());
});

test('reactions to messages are summed up, and of one client', LIMIT, async () => {
  const name = fresh('room');
  const options = { messages: { rawMessageReactions: true } };
  const [alice, bob] = await Promise.all([room('alice', name, { options }), room('bob', name)]);
  const { serial } = await alice.messages.send({ text: 'like me' });
  const summaries = inbox((hear) => bob.messages.reactions.subscribe(hear), ({ reactions }) => plain(reactions));
  const raw = inbox((hear) => alice.messages.reactions.subscribeRaw(hear), ({ type, reaction }) => [type, reaction.type, reaction.name]);
  const to = bob.messages.reactions;
  await to.send(serial, { type: MessageReactionType.Distinct, name: '👍' });
  await alice.messages.reactions.send(serial, { type: MessageReactionType.Unique, name: '🎉' });
  await to.send(serial, { type: MessageReactionType.Multiple, name: '❤️', count: 3 });
  await to.delete(serial, { type: MessageReactionType.Distinct, name: '👍' });
  await raw.count(4);
  assert.deepEqual(raw.items, [
    ['reaction.create', 'distinct', '👍'],
    ['reaction.create', 'unique', '🎉'],
    ['reaction.create', 'multiple', '❤️'],
    ['reaction.delete', 'distinct', '👍'],
  ]);
  const last = { total: 3, clientIds: { bob: 3 }, totalUnidentified: 0, totalClientIds: 1, clipped: false };
  const expected = { unique: { '🎉': { total: 1, clientIds: ['alice'], clipped: false } }, distinct: {}, multiple: { '❤️': last } };
  const is = (found) => JSON.stringify(sorted(found)) === JSON.stringify(sorted(expected));
  await summaries.until((all) => all.some(is), 'the last summary');
  const read = async () => [await alice.messages.get(serial), (await alice.messages.history({ limit: 1 })).items[0]];
  for (const message of await read()) assert.deepEqual(plain(message.reactions), expected);
  const own = await bob.messages.reactions.clientReactions(serial);
  assert.deepEqual(plain(own), { unique: {}, distinct: {}, multiple: { '❤️': last } });
  await refused(to.send(serial, { type: 'other', name: 'x' }), 40003);
});

const sorted = (value) =>
  value && typeof value === 'object' && !Array.isArray(value)
    ? Object.fromEntries(Object.keys(value).sort().map((key) => [key, sorted(value[key])]))
    : value;

test('typing, reactions of the room, presence and occupancy', LIMIT, async () => {
  const name = fresh('room');
  const options = { occupancy: { enableEvents: true } };
  const [alice, bob] = await Promise.all([room('alice', name), room('bob', name, { options })]);
  const typing = inbox((hear) => bob.typing.subscribe(hear), ({ currentlyTyping }) => [...currentlyTyping]);
  await alice.typing.keystroke();
  await alice.typing.stop();
  assert.deepEqual(await typing.count(2), [['alice'], []]);
  const reactions = inbox((hear) => bob.reactions.subscribe(hear), ({ reaction }) => [reaction.name, reaction.clientId]);
  await alice.reactions.send({ name: 'like' });
  assert.deepEqual(await reactions.count(1), [['like', 'alice']]);
  const presence = inbox((hear) => bob.presence.subscribe(hear), ({ type, member }) => [type, member.clientId, member.data]);
  await alice.presence.enter({ mood: 'good' });
  await presence.until((all) => all.some(([type]) => type === 'enter'), 'alice to enter');
  assert.deepEqual((await bob.presence.get()).map(({ clientId, data }) => [clientId, data]), [['alice', { mood: 'good' }]]);
  const counts = inbox((hear) => bob.occupancy.subscribe(hear), ({ occupancy }) => occupancy);
  await counts.until((all) => all.some(({ connections, presenceMembers }) => connections === 2 && presenceMembers === 1), 'two and one');
  assert.deepEqual(await bob.occupancy.get(), { connections: 2, presenceMembers: 1 });
});

test('spaces: members, locations and locks', LIMIT, async () => {
  const name = fresh('space');
  const clients = await Promise.all(['alice', 'bob'].map((clientId) => app.connected({ clientId })));
  const [alice, bob] = await Promise.all(clients.map((client) => new Spaces(client).get(name)));
  await bob.enter({ name: 'Bob' });
  await alice.enter({ name: 'Alice' });
  const members = new Inbox();
  bob.subscribe('update', ({ members: all }) => members.put(all.map(({ clientId, profileData, location }) => ({ clientId, profileData, location }))));
  await alice.locations.set({ slide: 3 });
  const there = (all) => all.some((members) => members.some(({ clientId, location }) => clientId === 'alice' && location?.slide === 3));
  await members.until(there, 'alice to be on slide 3');
  const locks = new Inbox();
  bob.locks.subscribe('update', ({ id, status, member }) => locks.put([id, status, member.clientId]));
  assert.equal((await alice.locks.acquire('slide')).status, 'pending');
  assert.deepEqual((await locks.count(1))[0], ['slide', 'locked', 'alice']);
  // Locks are told by updates of presence that nobody waits for: here their answers have come.
  for (const client of [...clients, ...clients]) await client.connection.ping();
});
