// Publishing and subscribing with npm `ably`, in both formats (docs/protocols/ably.md §3.5, §5.3, §6).

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { after, before, test } from 'node:test';
import { FORMATS, Inbox, fresh, range, startApp } from './app.mjs';

const LIMIT = { timeout: 60_000 };
const MEGABYTE = 1_000_000;
// Under `maxMessageSize`, 65536 (§2.5).
const PIECE_BYTES = 60_000;

let app;
before(async () => (app = await startApp()));
after(() => app?.stop());

const PAIRS = Object.entries(FORMATS).flatMap(([from, publisherIsBinary]) =>
  Object.entries(FORMATS).map(([to, subscriberIsBinary]) => ({ from, to, publisherIsBinary, subscriberIsBinary })),
);

const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');

for (const { from, to, publisherIsBinary, subscriberIsBinary } of PAIRS) {
  /** A publisher that is not attached (§6.1) and what a subscriber hears. */
  const pair = async () => {
    const name = fresh('pair');
    const [publisher, subscriber] = await Promise.all([
      app.connected({ useBinaryProtocol: publisherIsBinary }),
      app.connected({ useBinaryProtocol: subscriberIsBinary }),
    ]);
    const inbox = await Inbox.of(subscriber.channels.get(name));
    return { channel: publisher.channels.get(name), inbox, publisher };
  };

  test(`600 messages arrive once, in order: ${from} to ${to}`, LIMIT, async () => {
    const { channel, inbox, publisher } = await pair();
    // One by one and several in a frame, without waiting for the acknowledgement of the one before.
    const results = [];
    for (let n = 0; n < 600; ) {
      const many = n % 5 === 0 ? 4 : 1;
      results.push(channel.publish(range(many).map((index) => ({ name: `n${n + index}`, data: { n: n + index } }))));
      n += many;
    }
    const acked = await Promise.all(results);
    const heard = (await inbox.count(600)).map(({ name, data }) => [name, data.n]);
    assert.deepEqual(heard, range(600).map((n) => [`n${n}`, n]));

    // §6.2: each publish is answered with the serials of its messages; they are those that were heard (§3.8).
    const serials = acked.flatMap(({ serials }) => serials);
    assert.deepEqual(inbox.items.map(({ serial }) => serial), serials);
    assert.deepEqual([...serials].sort(), serials, 'serials sort as the log does');
    assert.equal(new Set(inbox.items.map(({ id }) => id)).size, 600);
    assert.ok(inbox.items.every(({ connectionId }) => connectionId === publisher.connection.id));
    assert.ok(inbox.items.every(({ timestamp }) => Number.isInteger(timestamp)));
  });

  test(`1 MB of binary in pieces has the same hash: ${from} to ${to}`, LIMIT, async () => {
    const { channel, inbox } = await pair();
    const sent = randomBytes(MEGABYTE);
    const pieces = Math.ceil(MEGABYTE / PIECE_BYTES);
    await Promise.all(
      range(pieces).map((n) => channel.publish(`piece ${n}`, sent.subarray(n * PIECE_BYTES, (n + 1) * PIECE_BYTES))),
    );
    const received = await inbox.count(pieces);
    assert.ok(received.every(({ data }) => Buffer.isBuffer(data)), 'bytes stay bytes');
    assert.equal(sha256(Buffer.concat(received.map(({ data }) => data))), sha256(sent));
  });

  test(`every kind of data arrives as it was sent: ${from} to ${to}`, LIMIT, async () => {
    const { channel, inbox } = await pair();
    const kinds = {
      text: 'Grüße 你好 👋 "quoted" \\ \u0000 \u2028',
      'empty text': '',
      'text that looks like JSON': '{"a":1}',
      object: { nested: { list: [1, 2.5, -3, null, true, 'x'] }, empty: {} },
      array: [1, 'two', { three: 3 }],
      // §16: bytes that happen to be UTF-8 stay bytes.
      bytes: Buffer.from('plain'),
      'no bytes': Buffer.alloc(0),
      'bytes that are no text': Buffer.from([0, 255, 128, 10]),
      nothing: undefined,
    };
    for (const [name, data] of Object.entries(kinds)) {
      await channel.publish({ name, data, extras: { headers: { kind: name, n: 7 } } });
    }
    const heard = await inbox.count(Object.keys(kinds).length);
    for (const [index, [name, data]] of Object.entries(kinds).entries()) {
      const message = heard[index];
      assert.equal(message.name, name);
      assert.deepEqual(message.data ?? undefined, data, name);
      assert.equal(message.encoding ?? null, null, `${name}: an encoding is left over`);
      assert.deepEqual(message.extras, { headers: { kind: name, n: 7 } });
    }
  });
}

for (const [format, useBinaryProtocol] of Object.entries(FORMATS)) {
  test(`messages of REST and of realtime share the order of the channel: ${format}`, LIMIT, async () => {
    const name = fresh('rest');
    const client = await app.connected({ useBinaryProtocol });
    const inbox = await Inbox.of(client.channels.get(name));
    const rest = app.rest({ useBinaryProtocol }).channels.get(name);
    for (const n of range(20)) await (n % 2 ? rest : client.channels.get(name)).publish('n', n.toString());
    assert.deepEqual((await inbox.count(20)).map(({ data }) => data), range(20).map(String));
    assert.ok(inbox.items.every(({ connectionId }, n) => n % 2 === 0 || !connectionId), '§3.1: none over REST');
  });

  test(`with echo off a client hears the others and not itself: ${format}`, LIMIT, async () => {
    const name = fresh('echo');
    const quiet = await app.connected({ useBinaryProtocol, echoMessages: false });
    const other = await app.connected({ useBinaryProtocol });
    const [quietHears, otherHears] = await Promise.all([quiet, other].map((c) => Inbox.of(c.channels.get(name))));
    for (const n of range(5)) await quiet.channels.get(name).publish(`own ${n}`, null);
    await other.channels.get(name).publish('last', null);
    assert.deepEqual(await quietHears.upTo('last'), []);
    assert.deepEqual((await otherHears.upTo('last')).map(({ name }) => name), range(5).map((n) => `own ${n}`));
  });

  test(`a publish with ids, sent twice, is published once: ${format}`, LIMIT, async () => {
    const name = fresh('twice');
    const client = await app.connected({ useBinaryProtocol });
    const inbox = await Inbox.of(client.channels.get(name));
    const rest = app.rest({ useBinaryProtocol }).channels.get(name);
    const one = { id: 'just-one', name: 'one', data: 'a' };
    const batch = range(3).map((n) => ({ id: `batch:${n}`, name: `batch ${n}`, data: 'b' }));
    for (const messages of [one, batch]) {
      const first = await rest.publish(messages);
      const again = await rest.publish(messages);
      // §6.4: the answer is that of the first.
      assert.deepEqual(again.serials, first.serials);
      assert.equal(first.serials.length, [messages].flat().length);
    }
    // The same over realtime, which keeps the client's id.
    await client.channels.get(name).publish(one);
    await client.channels.get(name).publish({ id: 'live', name: 'live' });
    await client.channels.get(name).publish({ id: 'live', name: 'live' });
    await rest.publish('last', null);
    const heard = (await inbox.upTo('last')).map(({ id, name }) => [id, name]);
    assert.deepEqual(heard, [
      ['just-one', 'one'],
      ['batch:0', 'batch 0'],
      ['batch:1', 'batch 1'],
      ['batch:2', 'batch 2'],
      ['live', 'live'],
    ]);
    const stored = (await rest.history({ direction: 'forwards' })).items.map(({ id }) => id);
    assert.deepEqual(stored.slice(0, -1), heard.map(([id]) => id));
  });

  test(`a batch publishes to several channels, and each has its outcome: ${format}`, LIMIT, async () => {
    const [one, other] = [fresh('open:batch'), fresh('closed:batch')];
    // The second key may use the channels that begin with `open:`.
    const rest = app.rest({ useBinaryProtocol, key: app.keys[1] });
    const spec = { channels: [one, other], messages: [{ data: 'a' }, { data: 'b' }] };
    const single = await rest.batchPublish(spec);
    assert.deepEqual([single.successCount, single.failureCount], [1, 1]);
    assert.equal(single.results[0].channel, one);
    assert.equal(single.results[1].error.code, 40160);
    const [first, second] = await rest.batchPublish([spec, { channels: [one], messages: [{ data: 'c' }] }]);
    assert.deepEqual([first.failureCount, second.successCount], [1, 1]);
    const { items } = await rest.channels.get(one).history({ direction: 'forwards' });
    assert.deepEqual(items.map(({ data }) => data), ['a', 'b', 'a', 'b', 'c']);

    const client = await app.connected({ useBinaryProtocol, clientId: 'present' });
    await client.channels.get(one).presence.enter('here');
    const present = await rest.batchPresence([one, other]);
    assert.deepEqual([present.successCount, present.failureCount], [1, 1]);
    assert.deepEqual(present.results[0].presence.map(({ clientId, data }) => [clientId, data]), [['present', 'here']]);
    assert.equal(present.results[1].error.statusCode, 401);
  });

  test(`a filter chooses what a subscriber gets: ${format}`, LIMIT, async () => {
    const name = fresh('filtered');
    const client = await app.connected({ useBinaryProtocol });
    const expression = 'name == `"x"` && headers.number == `7` && headers.bool == `true`';
    const chosen = await Inbox.of(client.channels.getDerived(name, { filter: expression }));
    const all = await Inbox.of(client.channels.get(name));
    const publisher = app.rest({ useBinaryProtocol }).channels.get(name);
    const message = (name, number) => ({ name, data: 'd', extras: { headers: { number, bool: true } } });
    await publisher.publish([message('x', 7), message('y', 7), message('x', 8), message('x', 7)]);
    await publisher.publish([message('y', 1)]);
    await publisher.publish([message('x', 7)]);
    const everything = (await all.count(6)).filter(({ name, extras }) => name === 'x' && extras.headers.number === 7);
    const heard = await chosen.count(3);
    assert.deepEqual(heard.map(({ id, serial }) => [id, serial]), everything.map(({ id, serial }) => [id, serial]));
  });

  test(`rewind brings the last messages before the live ones: ${format}`, LIMIT, async () => {
    const name = fresh('rewind');
    const publisher = await app.connected({ useBinaryProtocol });
    const source = publisher.channels.get(name);
    for (const n of range(10)) await source.publish(`n${n}`, n.toString());

    const client = await app.connected({ useBinaryProtocol });
    const channel = client.channels.get(name, { params: { rewind: '4' } });
    const inbox = new Inbox();
    const attached = new Promise((resolve) => channel.once('attached', resolve));
    await channel.subscribe((message) => inbox.put(message));
    const change = await attached;
    assert.equal(change.hasBacklog, true);
    assert.equal(change.resumed, false);
    assert.deepEqual(channel.params, { rewind: '4' });
    for (const n of range(3)) await source.publish(`live ${n}`, null);
    await source.publish('last', null);
    assert.deepEqual(
      (await inbox.upTo('last')).map(({ name }) => name),
      ['n6', 'n7', 'n8', 'n9', 'live 0', 'live 1', 'live 2'],
    );

    // §5.1: the same by the qualifier of the name.
    const qualified = await Inbox.of(client.channels.get(`[?rewind=1]${name}`));
    assert.equal((await qualified.count(1))[0].name, 'last');
  });
}
