// What npm `ably` hears on metachannels (docs/protocols/ably.md §5.10).

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Inbox, fresh, refused, startApp } from './app.mjs';

const LIMIT = { timeout: 60_000 };

let app;
before(async () => (app = await startApp()));
after(() => app?.stop());

test('channels that open, connections that open and close', LIMIT, async () => {
  const watcher = await app.connected({ key: app.keys[2], useBinaryProtocol: true });
  const meta = (name) => watcher.channels.get(`[meta]${name}`);
  const [channels, connections] = await Promise.all(['channel', 'connection'].map((what) => Inbox.of(meta(`${what}.lifecycle`))));
  const name = fresh('told');
  const client = await app.connected({ clientId: 'alice' });
  const connectionId = client.connection.id;
  await client.channels.get(name).publish('n', 'x');
  const opened = await channels.until((items) => items.find(({ data }) => data.name === name), 'the channel to open');
  const { data } = opened.find(({ data }) => data.name === name);
  assert.equal(data.status.isActive, true);
  assert.equal(data.status.occupancy.metrics.connections, 0);
  client.close();
  const events = await connections.count(2);
  const told = events.map(({ name, data }) => ({ name, ...data }));
  const of = (name) => ({ name, connectionId, clientId: 'alice' });
  assert.deepEqual(told, [of('connection.opened'), of('connection.closed')]);
  assert.equal((await meta('connection.lifecycle').history()).items.length, 2);
  await refused(meta('log').publish('n', 'x'), 40160);
});
