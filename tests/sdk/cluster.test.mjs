// npm `ably` over three servers that share a Redis, each connection at another one (docs/cluster.md). LETSHARE_NODES=3 runs the
// other files of this folder so, too, and those of LetShare pages: all but older, pages and readme, which start servers of their own.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Inbox, fresh, range, reach, startApp } from './app.mjs';

const NODES = 3;
const LIMIT = { timeout: 60_000 };

let app;
before(async () => (app = await startApp({ nodes: NODES })));
after(() => app?.stop());

/** A client at each node: connections come to one after the other. */
const clients = (more) => range(NODES).reduce(async (all, n) => [...(await all), await app.connected({ clientId: `c${n}`, ...more })], []);

test('what any of them publishes is heard by all in one order, and is history everywhere', LIMIT, async () => {
  const room = fresh('order');
  const all = await clients();
  const inboxes = await Promise.all(all.map((client) => Inbox.of(client.channels.get(room))));
  const publish = (client, n) => client.channels.get(room).publish('n', `${client.auth.clientId}-${n}`);
  await Promise.all(range(50).flatMap((n) => all.map((client) => publish(client, n))));
  const heard = await Promise.all(inboxes.map((inbox) => inbox.count(50 * NODES)));
  const ids = heard.map((items) => items.map(({ id }) => id));
  assert.equal(new Set(ids[0]).size, 50 * NODES);
  for (const other of ids) assert.deepEqual(other, ids[0]);
  for (const client of all) {
    const page = await client.channels.get(room).history({ direction: 'forwards', limit: 1000 });
    assert.deepEqual(page.items.map(({ id }) => id), ids[0]);
  }
});

test('a client whose connection breaks goes on at another node and misses nothing', LIMIT, async () => {
  const room = fresh('moves');
  const [reader, writer] = [await app.connected(), await app.connected()];
  const inbox = await Inbox.of(reader.channels.get(room));
  const { id } = reader.connection;
  const told = [];
  reader.channels.get(room).on('update', (change) => told.push(change.resumed));
  let sent = 0;
  for (const round of range(2 * NODES)) {
    for (const n of range(20)) await writer.channels.get(room).publish('n', (sent += 1) && `${round}-${n}`);
    const lost = reach(reader.connection, 'disconnected', 'connecting');
    app.server.cut();
    await lost;
    for (const n of range(20)) await writer.channels.get(room).publish('n', (sent += 1) && `${round}-away-${n}`);
    await reach(reader.connection, 'connected');
    assert.equal(reader.connection.id, id, 'it is the same connection');
  }
  const items = await inbox.count(sent);
  assert.equal(new Set(items.map(({ data }) => data)).size, sent);
  assert.deepEqual([...items.map(({ serial }) => serial)].sort(), items.map(({ serial }) => serial));
  assert.ok(told.every((resumed) => resumed), 'nothing was lost');
});

test('tokens, revocations and lists of channels are those of all nodes', LIMIT, async () => {
  const rooms = range(NODES).map((n) => fresh(`listed-${n}`));
  const all = await clients();
  await Promise.all(all.map((client, n) => client.channels.get(rooms[n]).attach()));
  const rest = app.rest();
  const request = await rest.auth.createTokenRequest({ clientId: 'once' });
  const granted = await app.rest().auth.requestToken({ clientId: 'many' });
  const second = await app.connected({ tokenDetails: granted });
  assert.equal(second.auth.clientId, 'many');
  const ask = () => rest.request('post', `/keys/${request.keyName}/requestToken`, 3, null, request, null);
  const answers = [await ask(), await ask(), await ask(), await ask()];
  assert.deepEqual(answers.map(({ statusCode }) => statusCode), [201, 401, 401, 401]);
  const listed = await rest.request('get', '/channels', 3, { prefix: 'listed-', limit: '100' });
  assert.deepEqual(listed.items.sort(), [...rooms].sort());
});
