// npm `ably`, a relay socket, an HTTP push and a PostOffice letter meet on one channel, without a bridge between them
// (docs/protocols/relay.md §3 to §5, docs/protocols/postoffice.md §3; docs/architecture.md §5).

import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { WebSocket } from 'ws';
import { startServer } from '../browser/server.mjs';
import { App, FORMATS, Inbox, fresh, refused, within } from './app.mjs';

const LIMIT = { timeout: 60_000 };
const API_KEY = 'of-the-sdk-tests-only-0123456789';

/** The older protocols live in the app `shared` (docs/architecture.md §5). One capability for each of its keys. */
const CAPABILITIES = {
  relay: { 'relay:*': ['*'] },
  post: { 'po:*': ['*'] },
  any: { '[*]*': ['*'] },
  // Names the channels of two users, to listen only.
  user: { 'relay:u:u-json': ['subscribe'], 'relay:u:u-msgpack': ['subscribe'] },
};
const keyOf = (id) => `shared.${id}:0123456789abcdef-${id}`;
const APPS = {
  apps: [
    {
      id: 'shared',
      keys: Object.entries(CAPABILITIES).map(([id, capability]) => ({
        id,
        secret: keyOf(id).split(':')[1],
        capability: JSON.stringify(capability),
      })),
    },
  ],
};

let app, folder;
const sockets = new Set();
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'letshare-older-'));
  const file = join(folder, 'apps.yaml');
  // JSON is YAML.
  await writeFile(file, JSON.stringify(APPS));
  const server = await startServer({
    origins: [],
    settings: {
      LETSHARE_ABLY_APPS_FILE: file,
      LETSHARE_ABLY_KEYS_OVER_HTTP: 'true',
      LETSHARE_RELAY_ENABLED: 'true',
      LETSHARE_RELAY_API_KEY: API_KEY,
      LETSHARE_RELAY_IDENTIFY_ACK: 'true',
      LETSHARE_POSTOFFICE_ENABLED: 'true',
    },
  });
  app = new App(server, Object.keys(CAPABILITIES).map(keyOf));
});
after(async () => {
  for (const socket of sockets) socket.terminate();
  await app?.stop();
  await rm(folder, { recursive: true, force: true });
});

/** A WebSocket, open; `heard` gets its frames, read. */
async function open(path) {
  const socket = new WebSocket(`${app.server.ws}${path}`);
  sockets.add(socket);
  const heard = new Inbox();
  socket.on('message', (data, isBinary) => heard.put({ ...JSON.parse(data), isBinary }));
  await within(`a WebSocket at ${path}`, (resolve, reject) => socket.once('open', resolve).once('error', reject));
  const send = (frame) => socket.send(JSON.stringify(frame));
  return { heard, send };
}

/** Relay clients of these tokens (null: of none), who hear from now on what is for them and what is for all (docs/protocols/relay.md §3). */
async function relayClients(...tokens) {
  const clients = await Promise.all(
    tokens.map(async (token) => {
      const client = await open('/relay/ws');
      if (token === null) return client;
      client.send({ event: 'identify', data: { token } });
      await client.heard.until((all) => all.some(({ event }) => event === 'identified'), 'identified');
      return client;
    }),
  );
  // Nothing says that a connection is with all the others but that it hears them.
  const hear = (name) => ({ heard }) => heard.items.some(({ event }) => event === name);
  while (!clients.every(hear('probe'))) await push({ event_name: 'probe', subject: null });
  const last = fresh('probed');
  await push({ event_name: last, subject: null });
  for (const { heard } of clients) {
    await heard.until((all) => all.some(({ event }) => event === last), last);
    heard.items.length = 0;
  }
  return clients;
}

/** A push as a back end makes it (docs/protocols/relay.md §4). */
async function push(body) {
  const answer = await fetch(`${app.server.http}/relay/api/push`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-api-key': API_KEY },
    body: JSON.stringify(body),
  });
  const told = await answer.json();
  assert.equal(answer.status, 200, JSON.stringify(told));
  return told.data;
}

for (const [format, useBinaryProtocol] of Object.entries(FORMATS)) {
  test(`a push to a user is heard by the socket and by an Ably subscriber: ${format}`, LIMIT, async () => {
    const token = `u-${format}`;
    const ably = await app.connected({ key: keyOf('user'), useBinaryProtocol });
    const channel = ably.channels.get(`relay:u:${token}`);
    const inbox = await Inbox.of(channel);
    const [socket] = await relayClients(token);
    const subject = { no: 4711, name: 'Grüße 你好 👋' };
    const told = await push({ event_name: 'order.ready', subject, token });
    assert.equal(told.connections, 1, 'relay sockets; Ably subscribers are not counted');
    await push({ event_name: 'order.ready', subject: 'not yours', token: `${token}9` });
    await push({ event_name: 'order.gone', subject: null, token: { id: token } });

    const [ready, gone] = await inbox.count(2);
    assert.deepEqual([ready.name, ready.data], ['order.ready', subject]);
    assert.deepEqual([gone.name, gone.data], ['order.gone', null]);
    assert.equal(ready.connectionId ?? null, null, 'HTTP has no connection');

    const frames = await socket.heard.count(2);
    for (const { isBinary, data } of frames) assert.deepEqual([isBinary, Number.isInteger(data.ts)], [false, true]);
    assert.deepEqual(frames.map(({ event, data }) => [event, data.subject, data.token]), [
      ['order.ready', subject, token],
      ['order.gone', null, { id: token }],
    ]);
    assert.equal(frames[0].data.ts, ready.timestamp, 'one entry, one time');
    // It may listen, not speak.
    await refused(channel.publish('x', null), 40160);
  });

  test(`an Ably publish reaches the sockets of a user in the relay's frame: ${format}`, LIMIT, async () => {
    const token = fresh('user');
    const [first, second, other] = await relayClients(token, token, fresh('other'));
    const ably = await app.connected({ key: keyOf('relay'), useBinaryProtocol });
    const channel = ably.channels.get(`relay:u:${token}`);
    const inbox = await Inbox.of(channel);
    await channel.publish('order.ready', { no: 4711 });
    await channel.publish('text', 'plain');
    await channel.publish('bytes', Buffer.from([1]));
    await push({ event_name: 'fence', subject: 0 });
    for (const socket of [first, second]) {
      const frames = await socket.heard.count(4);
      const [{ data: { ts } }] = frames;
      assert.deepEqual(frames[0], {
        event: 'order.ready',
        data: { subject: { no: 4711 }, ts, token },
        isBinary: false,
      });
      assert.equal(ts, inbox.items[0].timestamp);
      // Bytes are base64 where there is only text.
      assert.deepEqual(frames.map(({ event, data }) => [event, data.subject, data.token]), [
        ['order.ready', { no: 4711 }, token],
        ['text', 'plain', token],
        ['bytes', 'AQ==', token],
        ['fence', 0, null],
      ]);
    }
    assert.deepEqual((await other.heard.count(1)).map(({ event }) => event), ['fence']);
  });

  test(`a broadcast is seen on relay:all, and made there: ${format}`, LIMIT, async () => {
    const clients = await relayClients(null, fresh('known'));
    const ably = await app.connected({ key: keyOf('relay'), useBinaryProtocol });
    const all = ably.channels.get('relay:all');
    const inbox = await Inbox.of(all);
    const name = fresh('news');
    const told = await push({ event_name: name, subject: ['all', 'of', 'you'] });
    assert.deepEqual([told.broadcast, told.target_user_id], [true, '']);
    await all.publish(`${name} by ably`, { from: 'sdk' });
    const heard = (await inbox.count(2)).map(({ name, data }) => [name, data]);
    assert.deepEqual(heard, [[name, ['all', 'of', 'you']], [`${name} by ably`, { from: 'sdk' }]]);
    for (const socket of clients) {
      const frames = await socket.heard.count(2);
      assert.deepEqual(frames.map(({ event, data }) => [event, data.subject, data.token]), heard.map((pair) => [...pair, null]));
    }
  });

  test(`a letter is seen by an Ably subscriber of the mailbox, and written there: ${format}`, LIMIT, async () => {
    const [box, sender] = [fresh('erp'), fresh('desk')];
    const path = (name) => `/postoffice/ws?clientID=${encodeURIComponent(name)}&token=any`;
    const [erp, desk] = [await open(path(box)), await open(path(sender))];
    const ably = await app.connected({ key: keyOf('post'), useBinaryProtocol });
    const channel = ably.channels.get(`po:${box}`);
    const inbox = await Inbox.of(channel);
    const letter = { from: sender, to: [box], subject: 'order 4711', content: 'b3JkZXI=', type: 1, subjectId: 'ord-4711' };
    desk.send(letter);
    const [seen] = await inbox.count(1);
    assert.deepEqual([seen.name, seen.data, seen.clientId], ['order 4711', letter, sender]);
    assert.equal(seen.extras.headers.subjectId, 'ord-4711');

    await channel.publish('greeting', 'hello');
    const [delivered, greeting] = await erp.heard.count(2);
    assert.deepEqual(delivered, { ...letter, isBinary: false });
    assert.deepEqual([greeting.to, greeting.subject, greeting.content], [box, 'greeting', 'hello']);
    assert.deepEqual(desk.heard.items, []);
  });

  test(`a key for everything reaches none of it: ${format}`, LIMIT, async () => {
    const [socket] = await relayClients('u-211');
    const ably = await app.connected({ key: keyOf('any'), useBinaryProtocol });
    for (const name of ['relay:all', 'relay:u:u-211', 'po:erp', '[meta]relay:all']) {
      const channel = ably.channels.get(name);
      await refused(channel.attach(), 40160);
      await refused(app.rest({ key: keyOf('any'), useBinaryProtocol }).channels.get(name).publish('x', null), 40160);
    }
    // What a named key may, is only what it names.
    const user = await app.connected({ key: keyOf('user'), useBinaryProtocol });
    await refused(user.channels.get('relay:u:u-211').attach(), 40160);
    await refused(user.channels.get('relay:all').attach(), 40160);
    await push({ event_name: 'fence', subject: null });
    assert.deepEqual((await socket.heard.count(1)).map(({ event }) => event), ['fence']);
  });
}
