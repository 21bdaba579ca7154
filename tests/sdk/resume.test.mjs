// Connections that break, between npm `ably` and the server (docs/protocols/ably.md §0, §4.3 to §4.5, §5.3):
// whatever was published is heard once and in order, and whatever was sent is acknowledged.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { FORMATS, Inbox, fresh, range, reach, startApp } from './app.mjs';
import { Proxy } from './proxy.mjs';
import { Chance, seed } from './random.mjs';

const CUTS = 200;
const PUBLISHERS = 10;
const SUBSCRIBERS = 10;
/** A publisher's pace, and how many of its messages may wait for their ACK. */
const PACE_MS = 30;
const WINDOW = 100;
/**
 * Nobody is left further behind: whoever misses more than the server keeps for one that comes back is told
 * of a gap (§5.3, 90004), rightly.
 */
const LAG = 500;

const LIMIT = { timeout: 120_000 };
// A channel that does not come to be attached within `realtimeRequestTimeout`, because its connection is
// lost again and again, is given up by the SDK, and with it what it missed.
const RETRY = { disconnectedRetryTimeout: 100, realtimeRequestTimeout: 100_000 };

let app, proxy;
before(async () => {
  app = await startApp();
  proxy = await Proxy.start(app.server.port, new Chance(seed));
});
after(async () => {
  // The clients first: a connection that breaks would be made anew.
  await app?.stop().finally(() => proxy?.close());
});

const behindProxy = (more) => app.connected({ port: proxy.port, ...RETRY, ...more });

/** Everything that a channel says of its continuity after the first ATTACHED. */
function interruptions(channel) {
  const told = [];
  channel.on(['attached', 'update'], (change) => told.push({ resumed: change.resumed, reason: change.reason?.message }));
  channel.on(['detached', 'suspended', 'failed'], (change) => told.push({ became: change.current }));
  return () => told.filter(({ resumed }) => !resumed);
}

test(`${CUTS} random cuts lose, double and reorder nothing (LETSHARE_SEED=${seed})`, LIMIT, async (t) => {
  const room = fresh('cuts');
  const format = (n) => ({ useBinaryProtocol: n % 2 === 1 });
  const publishers = await Promise.all(range(PUBLISHERS).map((n) => behindProxy(format(n))));
  const subscribers = await Promise.all(range(SUBSCRIBERS).map((n) => behindProxy(format(n))));
  const witness = await app.connected();
  const ids = [...publishers, ...subscribers].map(({ connection }) => connection.id);

  // Every other publisher listens too: its own messages come back to it in their place.
  const listeners = [witness, ...subscribers, ...publishers.filter((_, n) => n % 2 === 0)];
  const inboxes = await Promise.all(listeners.map((client) => Inbox.of(client.channels.get(room))));
  const interrupted = listeners.map((client) => interruptions(client.channels.get(room)));

  const sent = publishers.map(() => 0);
  const unacked = publishers.map(() => 0);
  const outcomes = [];
  const publish = (p, name = 'n') => {
    unacked[p] += 1;
    const outcome = publishers[p].channels.get(room).publish(name, { p, n: sent[p]++ });
    outcomes.push(outcome.then(() => null, (error) => error).finally(() => (unacked[p] -= 1)));
  };
  const pace = setInterval(() => {
    const [first, ...others] = inboxes.map(({ items }) => items.length);
    if (first - Math.min(...others) > LAG) return;
    publishers.forEach((_, p) => unacked[p] < WINDOW && publish(p));
  }, PACE_MS);
  try {
    await proxy.trouble(CUTS);
  } finally {
    clearInterval(pace);
  }
  publishers.forEach((_, p) => publish(p, 'last'));
  t.diagnostic(`${sent.reduce((a, b) => a + b)} messages, ${proxy.cuts} cuts: ${JSON.stringify(proxy.losses)}`);

  // Every publish is acknowledged: a frame that was heard before is acknowledged again (§4.5).
  assert.deepEqual((await Promise.all(outcomes)).filter(Boolean).map(String), []);
  const complete = (items) => items.filter(({ name }) => name === 'last').length >= PUBLISHERS;
  const heard = await Promise.all(inboxes.map((inbox) => inbox.until(complete, 'the last of each publisher')));

  const label = (n) => (n === 0 ? 'the witness' : `listener ${n} (${listeners[n].options.useBinaryProtocol ? 'msgpack' : 'json'})`);
  for (const [n, items] of heard.entries()) {
    assert.deepEqual(interrupted[n](), [], `${label(n)} was told of a gap`);
    for (const p of range(PUBLISHERS)) {
      const numbers = items.filter(({ data }) => data.p === p).map(({ data }) => data.n);
      assert.deepEqual(faults(numbers, sent[p]), [], `${label(n)}, messages of publisher ${p}`);
    }
    // All hear one order, that of the channel.
    assert.equal(items.findIndex(({ serial }, at) => serial !== heard[0][at]?.serial), -1, `the order of ${label(n)}`);
  }
  const now = [...publishers, ...subscribers].map(({ connection }) => connection.id);
  assert.deepEqual(now, ids, '§4.3: a resumed connection keeps its id');
});

/** What is wrong with a list that should be 0, 1, ... `many` - 1; a few faults are enough. */
function faults(numbers, many) {
  const found = [];
  const seen = new Set();
  let last = -1;
  for (const n of numbers) {
    if (seen.has(n)) found.push(`${n} doubled`);
    else if (n < last) found.push(`${n} after ${last}`);
    seen.add(n);
    last = Math.max(last, n);
  }
  for (const n of range(many)) if (!seen.has(n)) found.push(`${n} lost`);
  return found.slice(0, 5);
}

for (const [format, useBinaryProtocol] of Object.entries(FORMATS)) {
  test(`a publish whose ACK was lost is acknowledged again and heard once: ${format}`, LIMIT, async () => {
    const name = fresh('lost ack');
    const witness = await Inbox.of((await app.connected({ useBinaryProtocol })).channels.get(name));
    const client = await behindProxy({ useBinaryProtocol });
    const channel = client.channels.get(name);
    const own = await Inbox.of(channel);
    await channel.publish('before', null);

    proxy.deafen();
    const results = Promise.all(range(5).map((n) => channel.publish(`n${n}`, null)));
    await witness.count(6);
    proxy.cut();
    const serials = (await results).flatMap(({ serials }) => serials);
    assert.deepEqual(serials, witness.items.slice(1).map(({ serial }) => serial), 'the serials of the first time');

    await channel.publish('last', null);
    const expected = ['before', ...range(5).map((n) => `n${n}`)];
    assert.deepEqual((await witness.upTo('last')).map(({ name }) => name), expected);
    assert.deepEqual((await own.upTo('last')).map(({ name }) => name), expected);
  });

  test(`a connection is resumed while the server believes in its old transport: ${format}`, LIMIT, async () => {
    const name = fresh('orphan');
    const publisher = await app.connected({ useBinaryProtocol });
    const client = await behindProxy({ useBinaryProtocol, clientId: 'orphan' });
    const { id } = client.connection;
    const channel = client.channels.get(name);
    const inbox = await Inbox.of(channel);
    const gaps = interruptions(channel);
    await channel.presence.enter();
    const presence = new Inbox();
    await publisher.channels.get(name).presence.subscribe('leave', (event) => presence.put(event));

    for (const n of range(3)) {
      const away = reach(client.connection, 'disconnected');
      proxy.orphan();
      await away;
      await publisher.channels.get(name).publish(`missed ${n}`, null);
      await reach(client.connection, 'connected');
      await channel.publish(`back ${n}`, null);
    }
    await publisher.channels.get(name).publish('last', null);
    const heard = (await inbox.upTo('last')).map(({ name }) => name);
    assert.deepEqual(heard, range(3).flatMap((n) => [`missed ${n}`, `back ${n}`]));
    assert.equal(client.connection.id, id);
    assert.deepEqual(gaps(), []);

    // §7.6: who comes back in time has never left.
    assert.deepEqual(presence.items, []);
    const there = await publisher.channels.get(name).presence.get();
    assert.deepEqual(there.map(({ clientId, connectionId }) => [clientId, connectionId]), [['orphan', id]]);
  });

  test(`presence that changed while a client was away is told when it is back: ${format}`, LIMIT, async () => {
    const name = fresh('away');
    const who = ['ann', 'ben', 'cat'];
    const [ann, ben, cat] = await Promise.all(who.map((clientId) => app.connected({ clientId, useBinaryProtocol })));
    const client = await behindProxy({ useBinaryProtocol });
    const channel = client.channels.get(name);
    const events = new Inbox();
    await channel.presence.subscribe((event) => events.put(event));
    const gaps = interruptions(channel);
    for (const each of [ann, cat]) await each.channels.get(name).presence.enter('a');
    await events.count(2);

    const away = reach(client.connection, 'disconnected');
    const back = new Promise((resolve) => channel.once('attached', resolve));
    proxy.shut();
    await away;
    await ben.channels.get(name).presence.enter('b');
    await ann.channels.get(name).presence.update('a2');
    await ann.channels.get(name).presence.leave();
    proxy.open();
    await back;
    assert.deepEqual(gaps(), []);
    // Without HAS_PRESENCE and a SYNC in the answer, resumed or not, SDKs take everybody for gone:
    // ably-js realtimepresence.ts `onAttached`, ably-python presence.py `on_attached`.
    const members = await channel.presence.get();
    assert.deepEqual(members.map(({ clientId, data }) => [clientId, data]).sort(), [['ben', 'b'], ['cat', 'a']]);

    await cat.channels.get(name).presence.update('last');
    await events.until((all) => all.at(-1).data === 'last', 'the last update');
    // How the way there is told, by sync, by replay or by both, is the server's choice.
    const final = new Map(events.items.map(({ action, clientId }) => [clientId, action]));
    assert.equal(final.get('ann'), 'leave');
    assert.ok(['enter', 'present'].includes(final.get('ben')), final.get('ben'));
    assert.ok(!events.items.some(({ action, clientId }) => action === 'leave' && clientId !== 'ann'), 'who stayed has not left');
  });

  test(`what a member wished while it was away is not undone by its own re-entry: ${format}`, LIMIT, async () => {
    // findings A3: the SDK sends what was queued first, then its automatic re-ENTER with the original id
    // (ably-js #2220, ably-java #930).
    const witness = await app.connected({ useBinaryProtocol });
    const bridge = await Proxy.start(app.server.port, new Chance(seed));
    try {
      for (const wish of ['leave', 'update']) {
        const name = fresh(`re-entry after ${wish}`);
        const client = await app.connected({ port: bridge.port, ...RETRY, useBinaryProtocol, clientId: 'ann' });
        const channel = client.channels.get(name);
        const events = new Inbox();
        await witness.channels.get(name).presence.subscribe((event) => events.put(event));
        await channel.presence.enter('v1');
        await events.count(1);

        const away = reach(client.connection, 'disconnected');
        bridge.shut();
        await away;
        const wished = wish === 'leave' ? channel.presence.leave() : channel.presence.update('v2');
        // The re-ENTER follows ATTACHED; a publish behind it is answered behind it.
        const back = new Promise((resolve) => channel.once(['attached', 'update'], resolve));
        bridge.open();
        await Promise.all([wished, back]);
        await channel.publish('last', null);

        const expected = wish === 'leave' ? [] : ['v2'];
        const newcomer = (await app.connected({ useBinaryProtocol })).channels.get(name);
        const data = (members) => members.map(({ data }) => data);
        assert.deepEqual(data(await newcomer.presence.get()), expected, 'a newcomer');
        assert.deepEqual(data(await witness.channels.get(name).presence.get()), expected, 'who was there');
        const { items } = await app.rest().channels.get(name).presence.get();
        assert.deepEqual(data(items), expected, 'over HTTP');
        assert.deepEqual(data(await channel.presence.get()), expected, 'its own client');
        assert.deepEqual(events.items.map(({ action }) => action), ['enter', wish]);
        client.close();
      }
    } finally {
      bridge.close();
    }
  });

  test(`a rewound message does not come again after a resume: ${format}`, LIMIT, async () => {
    const name = fresh('rewound');
    const publisher = await app.connected({ useBinaryProtocol });
    await publisher.channels.get(name).publish('old', null);
    const client = await behindProxy({ useBinaryProtocol });
    const inbox = await Inbox.of(client.channels.get(name, { params: { rewind: '1' } }));
    await inbox.count(1);
    const away = reach(client.connection, 'disconnected');
    proxy.cut();
    await away;
    await publisher.channels.get(name).publish('new', null);
    await inbox.count(2);
    await client.channels.get(name).publish('last', null);
    assert.deepEqual((await inbox.upTo('last')).map(({ name }) => name), ['old', 'new']);
  });

  test(`a new client recovers what the old one would have heard: ${format}`, LIMIT, async () => {
    const name = fresh('recover');
    const publisher = await app.connected({ useBinaryProtocol });
    const bridge = await Proxy.start(app.server.port, new Chance(seed));
    const first = await app.connected({ port: bridge.port, useBinaryProtocol });
    const { id } = first.connection;
    const inbox = await Inbox.of(first.channels.get(name));
    await publisher.channels.get(name).publish('before', null);
    await inbox.count(1);
    const recover = first.connection.createRecoveryKey();
    // The old one does not come back.
    bridge.close();
    await publisher.channels.get(name).publish('missed', null);

    const second = await app.connected({ useBinaryProtocol, recover });
    assert.equal(second.connection.id, id);
    const channel = second.channels.get(name);
    const recovered = await Inbox.of(channel);
    await publisher.channels.get(name).publish('last', null);
    assert.deepEqual((await recovered.upTo('last')).map(({ name }) => name), ['missed']);
  });
}
