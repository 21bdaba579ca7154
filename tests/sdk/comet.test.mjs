// The SDK without a WebSocket, in Node and in a page, and on its way from comet to a WebSocket
// (docs/protocols/ably.md §1.6, §4.3).

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import OldAbly from 'ably-1.2';
import { launch } from '../browser/chromium.mjs';
import { Inbox, fresh, range, reach, startApp, within } from './app.mjs';
import { openClient, servePages } from './page.mjs';
import { Proxy } from './proxy.mjs';
import { Chance, seed } from './random.mjs';

const LIMIT = { timeout: 120_000 };
const COMET = { transports: ['comet'] };
const TEXT = 'Grüße 你好 👋 "quoted" \\ \u0000 \u2028';

let app, pages, browser;
before(async () => {
  pages = await servePages();
  [app, browser] = await Promise.all([startApp({ origins: [pages.origin] }), launch()]);
});
after(async () => {
  await browser?.close();
  pages?.close();
  await app?.stop();
});

const transportOf = (client) => client.connection.connectionManager.activeProtocol?.getTransport().shortName;

/** Waits until a channel has so many members. */
const members = (channel, many) =>
  within(`${many} members`, async (resolve) => {
    while ((await channel.presence.get()).length !== many) await new Promise((next) => setTimeout(next, 20));
    resolve();
  });

for (const [way, more] of Object.entries({ streaming: {}, polling: { transportParams: { stream: false } } })) {
  test(`Node without a WebSocket, ${way}: messages, presence, history`, LIMIT, async () => {
    const name = fresh('comet');
    const [comet, other] = await Promise.all([
      app.connected({ ...COMET, ...more, clientId: 'comet' }),
      app.connected({ useBinaryProtocol: true }),
    ]);
    assert.equal(transportOf(comet), 'comet');
    const [own, heard] = await Promise.all([comet, other].map((client) => Inbox.of(client.channels.get(name))));
    const channel = comet.channels.get(name);
    const sent = range(300).map((n) => ({ name: `n${n}`, data: n % 2 ? TEXT : { n } }));
    const results = await Promise.all(sent.map((message) => channel.publish(message)));
    await other.channels.get(name).publish('bytes', Buffer.from([0, 255, 128]));
    const expected = [...sent, { name: 'bytes', data: Buffer.from([0, 255, 128]) }];
    for (const inbox of [own, heard]) {
      assert.deepEqual((await inbox.count(301)).map(({ name, data }) => ({ name, data })), expected);
    }
    assert.deepEqual(results.flatMap(({ serials }) => serials), own.items.slice(0, 300).map(({ serial }) => serial));
    await channel.presence.enter('here');
    // The ACK says that the server knows of it: it may still be on its way to the other one.
    await members(other.channels.get(name), 1);
    assert.deepEqual((await other.channels.get(name).presence.get()).map(({ clientId, data }) => [clientId, data]), [['comet', 'here']]);
    assert.equal((await channel.history({ limit: 1 })).items[0].name, 'bytes');
    comet.close();
    await reach(comet.connection, 'closed');
    await members(other.channels.get(name), 0);
  });
}

test('a token that is replaced, and credentials that are refused', LIMIT, async () => {
  const rest = app.rest();
  const authCallback = (_, give) => rest.auth.requestToken({ clientId: 'alice', ttl: 31_000 }).then((token) => give(null, token), give);
  const client = await app.connected({ ...COMET, authCallback });
  const { id } = client.connection;
  // The server asks for another one 30 s before the end.
  await within('another token', (resolve) => client.connection.once('update', resolve));
  assert.equal(client.connection.id, id);
  await client.channels.get(fresh('comet')).publish('x', null);
  const refused = app.realtime({ ...COMET, key: app.key.replace(/:.*/, ':wrong') });
  const { reason } = await reach(refused.connection, 'failed');
  assert.equal(reason.code, 40101);
});

/** Publishes in a row, whatever becomes of the listener's connection, until `act` is done. */
async function whilePublishing(channel, act) {
  let sent = 0;
  const results = [];
  const pace = setInterval(() => results.push(channel.publish('n', { n: sent++ })), 5);
  try {
    await act(() => sent);
  } finally {
    clearInterval(pace);
  }
  await Promise.all(results);
  await channel.publish('last', null);
  return sent;
}

const numbers = async (inbox) => (await inbox.upTo('last')).map(({ data }) => data.n);

for (const [what, more, side, trouble] of [
  ['polls', { transportParams: { stream: false } }, 'listens', (proxy) => proxy.trouble(20)],
  // Nothing goes up a stream, where chance might cut it.
  ['has a stream', {}, 'listens', cutAgainAndAgain],
  ['publishes', {}, 'publishes', (proxy) => proxy.trouble(20)],
]) {
  test(`connections that break lose and double nothing: the client ${what} (LETSHARE_SEED=${seed})`, LIMIT, async (t) => {
    const proxy = await Proxy.start(app.server.port, new Chance(seed));
    t.after(() => proxy.close());
    const name = fresh('cuts');
    const patience = { disconnectedRetryTimeout: 100, realtimeRequestTimeout: 30_000, httpRequestTimeout: 10_000 };
    const comet = await app.connected({ ...COMET, ...more, ...patience, port: proxy.port });
    t.after(() => comet.close());
    const other = await app.connected();
    const [from, to] = side === 'listens' ? [other, comet] : [comet, other];
    const inbox = await Inbox.of(to.channels.get(name));
    const id = comet.connection.id;
    const sent = await whilePublishing(from.channels.get(name), () => trouble(proxy, comet, inbox));
    assert.deepEqual(await numbers(inbox), range(sent));
    assert.equal(comet.connection.id, id);
    t.diagnostic(`${sent} messages, ${JSON.stringify(proxy.losses)}`);
  });
}

async function cutAgainAndAgain(proxy, client, inbox) {
  for (const _ of range(10)) {
    proxy.cut();
    await reach(client.connection, 'disconnected', 'connecting');
    await reach(client.connection, 'connected');
    await inbox.count(inbox.items.length + 10);
  }
}

/** Where the older version looks for the server. */
const HERE = { realtimeHost: '127.0.0.1', restHost: '127.0.0.1', fallbackHosts: [] };

const old = (more) =>
  new OldAbly.Realtime.Promise({ ...app.options({ endpoint: undefined }), ...HERE, log: { level: 0 }, ...more });

test('findings A7: an older client begins with comet, and changes over to a WebSocket', LIMIT, async (t) => {
  const client = old({ transports: ['comet', 'web_socket'] });
  t.after(() => client.close());
  const begun = new Promise((resolve) => client.connection.connectionManager.once('transport.active', resolve));
  assert.equal((await begun).shortName, 'comet');
  const name = fresh('upgrade');
  const inbox = new Inbox();
  await client.channels.get(name).subscribe((message) => inbox.put(message));
  const other = await app.connected();
  const sent = await whilePublishing(other.channels.get(name), (count) =>
    within('the WebSocket', (resolve) => {
      const look = setInterval(() => transportOf(client) === 'web_socket' && count() > 50 && done(), 5);
      const done = () => (clearInterval(look), resolve());
    }),
  );
  assert.deepEqual(await numbers(inbox), range(sent));
});

test('an older client whose WebSocket is cut half-way goes on', LIMIT, async (t) => {
  const proxy = await Proxy.start(app.server.port, new Chance(seed));
  t.after(() => proxy.close());
  const other = await app.connected();
  for (const moment of ['transport.pending', 'transport.active']) {
    const client = old({ transports: ['comet', 'web_socket'], port: proxy.port, disconnectedRetryTimeout: 100 });
    t.after(() => client.close());
    const manager = client.connection.connectionManager;
    const cut = within(`${moment} of the WebSocket`, (resolve) => {
      const look = (transport) => {
        if (transport.shortName !== 'web_socket') return;
        manager.off(moment, look);
        proxy.cut();
        resolve();
      };
      manager.on(moment, look);
    });
    const name = fresh('half-way');
    const inbox = new Inbox();
    await client.channels.get(name).subscribe((message) => inbox.put(message));
    const sent = await whilePublishing(other.channels.get(name), async () => {
      await cut;
      await reach(client.connection, 'connected');
      await client.channels.get(name).publish('back', null);
      await inbox.until((items) => items.some(({ name }) => name === 'back'));
    });
    const heard = (await inbox.upTo('last')).filter(({ name }) => name === 'n').map(({ data }) => data.n);
    assert.deepEqual(heard, range(sent), moment);
  }
});

for (const [version, name, options] of [
  ['2', 'xhr_polling', () => app.options({ transports: ['xhr_polling'] })],
  // What a page of the older version does by itself: comet first, then a WebSocket.
  ['1.2', 'web_socket', () => ({ ...app.options({ endpoint: undefined }), ...HERE })],
]) {
  test(`a page of version ${version} by ${name}`, LIMIT, async () => {
    const channel = fresh('page');
    const node = await app.connected();
    const inbox = await Inbox.of(node.channels.get(channel));
    const page = await openClient(browser, pages, version, options(), channel);
    await page.call('publishMany', 300);
    const expected = range(300).map((n) => [`n${n}`, { n }]);
    assert.deepEqual((await inbox.count(300)).map(({ name, data }) => [name, data]), expected);
    const back = range(100).map((n) => [`back ${n}`, TEXT]);
    await Promise.all(back.map(([event, data]) => node.channels.get(channel).publish(event, data)));
    assert.deepEqual(await page.call('names', 400), [...expected, ...back]);
    assert.equal(await page.call('transport', name), name);
    await page.close();
  });
}
