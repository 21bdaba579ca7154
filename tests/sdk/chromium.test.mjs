// The SDK's browser bundle in headless Chromium, on a page of another origin (docs/protocols/ably.md §1.2, §1.9).

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launch } from '../browser/chromium.mjs';
import { FORMATS, Inbox, fresh, range, startApp } from './app.mjs';
import { openClient, servePages } from './page.mjs';

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

/** A page with a client on `channel`; `call` calls its methods. */
const open = (channel, more) => openClient(browser, pages, 2, app.options({ transports: ['web_socket'], ...more }), channel);

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

  test(`two pages count together through a cut: ${format}`, LIMIT, async () => {
    const name = fresh('page counts');
    const more = { withObjects: true, useBinaryProtocol, disconnectedRetryTimeout: 50 };
    const both = [await open(name, more), await open(name, more)];
    await both[0].call('setCounter', 'votes');
    assert.equal(await both[1].call('counted', 'votes', 0), 0);
    await Promise.all(both.map((page) => page.call('increment', 'votes', 60)));
    for (const page of both) assert.equal(await page.call('counted', 'votes', 120), 120);
    const shown = await fetch(`${app.server.http}/channels/${encodeURIComponent(name)}/object`, {
      headers: { authorization: `Basic ${btoa(app.key)}` },
    });
    assert.deepEqual(await shown.json(), { votes: 120 });
    await Promise.all(both.map((page) => page.close()));
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
