// Objects that several clients change together: LiveObjects of npm `ably` (docs/protocols/ably.md §10).

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { LiveCounter, LiveMap, LiveObjects } from 'ably/liveobjects';
import { FORMATS, PATIENCE_MS, fresh, range, reach, refused, startApp } from './app.mjs';
import { Chance, seed } from './random.mjs';

const LIMIT = { timeout: 300_000 };
const MODES = ['OBJECT_SUBSCRIBE', 'OBJECT_PUBLISH'];
const RUNS = process.env.LETSHARE_NIGHTLY ? 200 : 20;
const OPERATIONS = 40;

let app;
before(async () => (app = await startApp()));
after(() => app?.stop());

const plugins = { LiveObjects };
const connected = (more) => app.connected({ plugins, disconnectedRetryTimeout: 50, ...more });
const rest = (name, more) => app.rest({ plugins, ...more }).channels.get(name).object;

/** The root of the objects of a channel, as a client has it. */
const rootOf = (client, name) => client.channels.get(name, { modes: MODES }).object.get();

/** Its transport breaks, unless it has none just now; the client comes back by itself. */
function cut(client) {
  client.connection.connectionManager.activeProtocol?.getTransport()?.disconnect();
}

/** Waits until all of these give the same as the server, and gives that. */
async function agreed(name, roots) {
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    const server = await rest(name).get();
    try {
      for (const root of roots) assert.deepEqual(root.compactJson(), server);
      return server;
    } catch (error) {
      if (Date.now() > end) throw error;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

for (const [format, useBinaryProtocol] of Object.entries(FORMATS)) {
  test(`two clients count together through cuts: ${format}`, LIMIT, async () => {
    const name = fresh('counted');
    const [alice, bob] = await Promise.all(range(2).map(() => connected({ useBinaryProtocol })));
    const [of_alice, of_bob] = [await rootOf(alice, name), await rootOf(bob, name)];
    await of_alice.set('votes', LiveCounter.create(5));
    await agreed(name, [of_alice, of_bob]);
    const counting = [];
    for (const round of range(100)) {
      counting.push(of_alice.get('votes').increment(1), of_bob.get('votes').decrement(2));
      if (round % 25 === 10) cut(alice);
      if (round % 25 === 20) cut(bob);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    await Promise.all(counting);
    assert.deepEqual(await agreed(name, [of_alice, of_bob]), { votes: 5 + 100 - 200 });
  });

  test(`every kind of value comes back as it was: ${format}`, LIMIT, async () => {
    const name = fresh('values');
    const root = await rootOf(await connected({ useBinaryProtocol }), name);
    const values = { text: 'ü"\\', empty: '', number: -1.5, large: Number.MAX_SAFE_INTEGER, yes: true, no: false };
    for (const [key, value] of Object.entries(values)) await root.set(key, value);
    await root.set('json', { a: [1, null] });
    await root.set('bytes', Buffer.from([0, 255]));
    await root.set('map', LiveMap.create({ inner: LiveCounter.create(1), word: 'x' }));
    const other = await rootOf(await connected({ useBinaryProtocol: !useBinaryProtocol }), name);
    for (const [key, value] of Object.entries(values)) assert.deepEqual(other.get(key).value(), value);
    assert.deepEqual(other.get('json').value(), { a: [1, null] });
    assert.deepEqual(Buffer.from(other.get('bytes').value()), Buffer.from([0, 255]));
    assert.deepEqual(other.get('map').compactJson(), { inner: 1, word: 'x' });
    const shown = await rest(name, { useBinaryProtocol }).get({ compact: false });
    assert.deepEqual(shown.map.entries.json.data, { json: { a: [1, null] } });
    assert.equal(shown.map.entries.map.data.map.entries.inner.data.counter.data.number, 1);
    await rest(name, { useBinaryProtocol }).publish({ path: 'map.inner', counterInc: { number: 41 } });
    await root.remove('text');
    await agreed(name, []);
    assert.equal((await rest(name).get({ path: 'map' })).inner, 42);
  });
}

/** One change that chance names, of what a client has at this moment. */
function change(root, chance) {
  const key = `k${chance.between(0, 5)}`;
  const at = chance.between(0, 2) === 0 && root.get('map').instance() instanceof Object ? root.get('map') : root;
  switch (chance.between(0, 6)) {
    case 0:
      return at.remove(key);
    case 1:
      return at.set(key, LiveCounter.create(chance.between(0, 9)));
    case 2:
      return at === root ? root.set('map', LiveMap.create({ k0: chance.between(0, 9) })) : at.set(key, 'inner');
    case 3:
    case 4:
      return root.get('count').increment(chance.between(1, 9));
    default:
      return at.set(key, chance.pick([true, 'text', chance.between(0, 99)]));
  }
}

test(`clients and server agree after ${RUNS} random runs with cuts (LETSHARE_SEED=${seed})`, LIMIT, async () => {
  const clients = await Promise.all(range(3).map((n) => connected({ useBinaryProtocol: n % 2 === 1 })));
  for (const run of range(RUNS)) {
    const chance = new Chance(seed + run);
    const name = fresh('agreed');
    const roots = await Promise.all(clients.map((client) => rootOf(client, name)));
    await roots[0].set('count', LiveCounter.create());
    await agreed(name, roots);
    const changes = [];
    for (const n of range(OPERATIONS)) {
      changes.push(change(chance.pick(roots), chance));
      if (n % 10 === 9) cut(chance.pick(clients));
      if (chance.between(0, 2) === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    await Promise.all(changes);
    const late = await rootOf(await connected(), name);
    await agreed(name, [...roots, late]);
    await Promise.all(clients.map((client) => client.channels.get(name).detach()));
  }
});

test('who may not change objects is told, and the connection goes on', LIMIT, async () => {
  const name = fresh('open');
  const reader = await connected({ key: app.keys[1] });
  const channel = reader.channels.get(`read:${name}`, { modes: ['SUBSCRIBE', ...MODES] });
  await channel.attach();
  assert.deepEqual(channel.modes, ['subscribe']);
  await refused(rest(`read:${name}`, { key: app.keys[1] }).publish({ path: 'a', counterCreate: { count: 1 } }), 40160);
  await refused(rest(`open:${name}`).publish({ path: 'nothing', counterInc: { number: 1 } }), 92005);
  await reach(reader.connection, 'connected');
});
