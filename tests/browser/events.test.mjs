// Server-sent events in Chromium, on a page of another origin: what EventSource makes of them, and that it goes on where
// it was when its connection breaks (docs/protocols/ably.md §1.7).

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Proxy } from '../sdk/proxy.mjs';
import { Chance, seed } from '../sdk/random.mjs';
import { launch, openPage, servePages } from './chromium.mjs';
import { startServer } from './server.mjs';

const LIMIT = { timeout: 60_000 };

let browser, pages, server, key, proxy, opened;
before(async () => {
  pages = await servePages();
  const settings = { LETSHARE_ABLY_SANDBOX: 'true' };
  [server, browser] = await Promise.all([startServer({ origins: [pages.origin], settings }), launch()]);
  const app = await fetch(`${server.http}/apps`, { method: 'POST', body: JSON.stringify({ keys: [{}] }) });
  key = (await app.json()).keys[0].keyStr;
  proxy = await Proxy.start(server.port, new Chance(seed));
  opened = await openPage(browser, pages.origin);
});
after(async () => {
  await browser?.close();
  pages?.close();
  proxy?.close();
  await server?.stop();
});

const publish = async (channel, message) => {
  const answer = await fetch(`${server.http}/channels/${channel}/messages?key=${key}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(message),
  });
  assert.equal(answer.status, 201);
};

/** Opens a stream in the page; what it gets is kept there. */
const listen = (query, credentials = `key=${key}`) =>
  opened.page.evaluate(
    (url) =>
      new Promise((resolve) => {
        globalThis.source?.close();
        globalThis.got = [];
        globalThis.opens = 0;
        globalThis.source = new EventSource(url);
        for (const kind of ['message', 'presence', 'error']) {
          source.addEventListener(kind, ({ data, lastEventId }) => data && got.push({ kind, data, lastEventId }));
        }
        source.addEventListener('open', () => (opens += 1) && resolve());
      }),
    `http://127.0.0.1:${proxy.port}/event-stream?v=1.2&${credentials}&${query}`,
  );

/** The first `many` events that the page got. */
async function events(many) {
  await opened.page.waitForFunction((many) => got.length >= many, many);
  return opened.page.evaluate(() => got);
}

test('EventSource gets messages of several channels, in order, each with its channel', LIMIT, async () => {
  await listen('channels=a,b');
  for (let n = 0; n < 50; n += 1) await publish(n % 2 ? 'b' : 'a', { name: `n${n}`, data: 'Grüße 你好 👋\n' });
  const got = (await events(50)).map(({ kind, data }) => ({ kind, ...JSON.parse(data) }));
  for (const [index, channel] of ['a', 'b'].entries()) {
    const names = got.filter((event) => event.channel === channel).map(({ name }) => name);
    assert.deepEqual(names, Array.from({ length: 25 }, (_, n) => `n${2 * n + index}`));
  }
  assert.ok(got.every(({ kind, data }) => kind === 'message' && data === 'Grüße 你好 👋\n'));
});

test('EventSource goes on where it was when its connection breaks', LIMIT, async () => {
  await listen('channels=room&enveloped=false');
  await publish('room', { data: 'one\ntwo' });
  await events(1);
  proxy.shut();
  for (const data of ['three', 'four']) await publish('room', { data });
  proxy.open();
  await opened.page.waitForFunction(() => opens === 2);
  await publish('room', { data: 'five' });
  assert.deepEqual((await events(4)).map(({ data }) => data), ['one\ntwo', 'three', 'four', 'five']);
  // Also when nothing had come before it broke.
  await listen('channels=quiet&enveloped=false');
  proxy.shut();
  await publish('quiet', { data: 'missed' });
  proxy.open();
  assert.deepEqual((await events(1)).map(({ data }) => data), ['missed']);
});

test('the end of a token is an event that the page can read', LIMIT, async () => {
  const [name] = key.split(':');
  const asked = await fetch(`${server.http}/keys/${name}/requestToken?key=${key}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ keyName: name, ttl: 1_000 }),
  });
  await listen('channels=room', `accessToken=${(await asked.json()).token}`);
  const [{ kind, data }] = await events(1);
  assert.deepEqual([kind, JSON.parse(data).code, JSON.parse(data).statusCode], ['error', 40142, 401]);
  // What it asks for next is refused before the stream is open: the browser gives up.
  await opened.page.waitForFunction(() => source.readyState === EventSource.CLOSED);
});
