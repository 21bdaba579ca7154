// Messages as differences to the one before, with npm `ably` and its published decoder (docs/protocols/ably.md §8.6).

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import * as vcdiff from '@ably/vcdiff-decoder';
import { FORMATS, Inbox, fresh, range, reach, startApp } from './app.mjs';
import { Proxy } from './proxy.mjs';
import { Chance, seed } from './random.mjs';

const LIMIT = { timeout: 60_000 };
const DELTA = { params: { delta: 'vcdiff' } };
const TRANSPORTS = ['web_socket', 'comet'];

let app, proxy;
before(async () => {
  app = await startApp();
  proxy = await Proxy.start(app.server.port, new Chance(seed));
});
after(() => app?.stop().finally(() => proxy?.close()));

/** The decoder, which counts, and fails where it is told to. */
class Decoder {
  calls = 0;
  constructor(fails = () => false) {
    this.decode = (delta, base) => {
      this.calls += 1;
      if (fails(this.calls)) throw new Error('not decoded');
      return vcdiff.decode(delta, base);
    };
  }
}

/** A document of about 2 KB of which a little has changed. */
const text = (n) => JSON.stringify(range(60).map((field) => ({ name: `field ${field} äöü`, value: field === n % 60 ? n : field })));
const data = (n) => [JSON.parse(text(n)), text(n), Buffer.from(text(n))][Math.floor(n / 10) % 3];

async function listener(decoder, more = {}, options = DELTA, name = fresh('delta')) {
  const client = await app.connected({ plugins: { vcdiff: decoder }, ...more });
  const channel = client.channels.get(name, options);
  const inbox = await Inbox.of(channel);
  const attached = [];
  channel.on('attaching', ({ reason }) => attached.push(reason?.code));
  return { client, name, channel, inbox, attached };
}

const publisherTo = async (name) => (await app.connected()).channels.get(name);
const expected = (from, to) => range(to - from).map((n) => [`n${from + n}`, data(from + n)]);
const heard = ({ items }) => items.map(({ name, data }) => [name, data]);

for (const [format, useBinaryProtocol] of Object.entries(FORMATS)) {
  for (const transport of TRANSPORTS) {
    test(`messages come as differences: ${format}, ${transport}`, LIMIT, async () => {
      const decoder = new Decoder();
      const { name, inbox, attached } = await listener(decoder, { useBinaryProtocol, transports: [transport] });
      const publisher = await publisherTo(name);
      for (let n = 0; n < 60; n += 1) await publisher.publish(`n${n}`, data(n));
      await publisher.publish(range(10).map((n) => ({ name: `n${60 + n}`, data: data(60 + n) })));
      await inbox.count(70);
      assert.deepEqual(heard(inbox), expected(0, 70));
      assert.equal(decoder.calls, 69, 'all but the first');
      assert.deepEqual(attached, []);
    });
  }
}

test('a message that cannot be decoded, features spec RTL18: the rest comes once', LIMIT, async () => {
  const decoder = new Decoder((call) => call === 3 || call === 9);
  const { name, inbox, attached } = await listener(decoder);
  const publisher = await publisherTo(name);
  for (let n = 0; n < 20; n += 1) await publisher.publish(`n${n}`, data(n));
  await inbox.count(20);
  assert.deepEqual(heard(inbox), expected(0, 20));
  assert.deepEqual(attached, [40018, 40018]);
});

test('without a decoder the channel fails (40019)', LIMIT, async () => {
  const client = await app.connected();
  const channel = client.channels.get(fresh('delta'), DELTA);
  await channel.attach();
  const failed = new Promise((resolve) => channel.once('failed', resolve));
  for (let n = 0; n < 2; n += 1) await channel.publish('n', data(n));
  assert.equal((await failed).reason.code, 40019);
});

test('rewound and resumed messages are differences to each other', LIMIT, async () => {
  const name = fresh('delta');
  const publisher = await publisherTo(name);
  for (let n = 0; n < 10; n += 1) await publisher.publish(`n${n}`, data(n));
  const decoder = new Decoder();
  const options = { params: { delta: 'vcdiff', rewind: '10' } };
  const { client, inbox, attached } = await listener(decoder, { port: proxy.port, disconnectedRetryTimeout: 100 }, options, name);
  await inbox.count(10);
  await publisher.publish('n10', data(10));
  await inbox.count(11);
  assert.equal(decoder.calls, 10, 'the rewound ones but the first, and the first live one');

  proxy.cut();
  await reach(client.connection, 'disconnected');
  for (let n = 11; n < 20; n += 1) await publisher.publish(`n${n}`, data(n));
  await reach(client.connection, 'connected');
  await inbox.count(20);
  await publisher.publish('n20', data(20));
  await inbox.count(21);
  assert.deepEqual(heard(inbox), expected(0, 21));
  assert.equal(decoder.calls, 10 + 9, 'the missed ones but the first, and the first live one');
  assert.deepEqual(attached.filter((code) => code === 40018), []);
});

test('who asks for no differences gets none', LIMIT, async () => {
  const decoder = new Decoder();
  const { name, inbox } = await listener(decoder, {}, {});
  const other = await listener(new Decoder(), {}, DELTA, name);
  const publisher = await publisherTo(name);
  for (let n = 0; n < 5; n += 1) await publisher.publish(`n${n}`, data(n));
  await Promise.all([inbox.count(5), other.inbox.count(5)]);
  assert.deepEqual(heard(inbox), expected(0, 5));
  assert.equal(decoder.calls, 0);
});
