// The SDK's browser bundle in headless Chromium, on a page of another origin (docs/protocols/ably.md §1.2, §1.9).

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { launch } from '../browser/chromium.mjs';
import { FORMATS, Inbox, fresh, range, startApp } from './app.mjs';

const LIMIT = { timeout: 60_000 };
const MEGABYTE = 1_000_000;
const PIECE_BYTES = 60_000;

let app, browser, pages;
before(async () => {
  pages = await servePages();
  [app, browser] = await Promise.all([startApp({ origins: [pages.origin] }), launch()]);
});
after(async () => {
  await browser?.close();
  pages?.close();
  await app?.stop();
});

/** The page and the bundle of the package that Node uses in the other tests. */
async function servePages() {
  const script = 'text/javascript; charset=utf-8';
  const here = (path) => fileURLToPath(new URL(`pages/${path}`, import.meta.url));
  const bundle = createRequire(import.meta.url).resolve('ably').replace(/ably-node\.js$/, 'ably.min.js');
  const files = {
    '/': ['text/html; charset=utf-8', here('index.html')],
    '/client.js': [script, here('client.js')],
    '/ably.js': [script, bundle],
  };
  const server = createServer(async ({ url }, response) => {
    if (!(url in files)) return response.writeHead(404).end();
    const [type, path] = files[url];
    response.writeHead(200, { 'content-type': type }).end(await readFile(path));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { origin: `http://127.0.0.1:${server.address().port}`, close: () => server.close() };
}

/** A page with a client on `channel`; `call` calls its methods. */
async function open(channel, more) {
  const context = await browser.newContext();
  const page = await context.newPage();
  const complaints = [];
  page.on('pageerror', (error) => complaints.push(String(error)));
  await page.goto(pages.origin);
  const call = (method, ...args) => page.evaluate(([method, args]) => client[method](...args), [method, args]);
  await page.evaluate(() => (globalThis.client = new Client()) && null);
  await call('connect', app.options({ transports: ['web_socket'], ...more }), channel);
  const close = async () => {
    await call('close');
    assert.deepEqual(complaints, []);
    await context.close();
  };
  return { call, close };
}

for (const [format, useBinaryProtocol] of Object.entries(FORMATS)) {
  test(`a page and Node hear each other in order: ${format}`, LIMIT, async () => {
    const name = fresh('page');
    // The other format than the page's.
    const node = await app.connected({ useBinaryProtocol: !useBinaryProtocol });
    const inbox = await Inbox.of(node.channels.get(name));
    const page = await open(name, { useBinaryProtocol });
    await page.call('publishMany', 300);
    const expected = range(300).map((n) => [`n${n}`, { n }]);
    assert.deepEqual((await inbox.count(300)).map(({ name, data }) => [name, data]), expected);
    const back = range(100).map((n) => [`back ${n}`, 'Grüße 你好 👋']);
    await Promise.all(back.map(([event, data]) => node.channels.get(name).publish(event, data)));
    assert.deepEqual(await page.call('names', 400), [...expected, ...back]);
    await page.close();
  });

  test(`1 MB of binary goes from page to page with the same hash: ${format}`, LIMIT, async () => {
    const name = fresh('page bytes');
    const [from, to] = [await open(name, { useBinaryProtocol }), await open(name, { useBinaryProtocol: !useBinaryProtocol })];
    const sent = await from.call('publishBytes', MEGABYTE, PIECE_BYTES);
    const pieces = Math.ceil(MEGABYTE / PIECE_BYTES);
    assert.equal(await to.call('hashOf', pieces), sent);
    assert.equal(await from.call('hashOf', pieces), sent);
    await Promise.all([from.close(), to.close()]);
  });

  test(`a page sees who is there, reads history across origins and is told why it is refused: ${format}`, LIMIT, async () => {
    const name = `open:${fresh('page')}`;
    const node = await app.connected({ clientId: 'node', useBinaryProtocol });
    await node.channels.get(name).presence.enter('on a server');
    const page = await open(name, { useBinaryProtocol, key: app.keys[1], clientId: 'page' });
    assert.deepEqual(await page.call('present'), [['node', 'on a server']]);
    await page.call('publishMany', 5);
    assert.deepEqual(await page.call('pages', 2), [['n0', 'n1'], ['n2', 'n3'], ['n4']]);
    // The SDK's fetch decodes an error only from JSON; from msgpack it keeps the status alone.
    const refusal = await page.call('refusal', 'read:only');
    assert.deepEqual(refusal, { code: useBinaryProtocol ? null : 40160, statusCode: 401 });
    await page.close();
  });
}
