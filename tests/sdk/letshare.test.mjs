// An Ably client and LetShare pages in one room: one channel, `event` = message name
// (docs/protocols/letshare.md §1, §2; docs/protocols/ably.md §0 "Channel").

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launch, openPage, servePages } from '../browser/chromium.mjs';
import { staticToken } from '../browser/server.mjs';
import { FORMATS, Inbox, startApp } from './app.mjs';

const LIMIT = { timeout: 60_000 };

let app, browser, pages;
before(async () => {
  pages = await servePages();
  const [sandbox, launched] = await Promise.all([startApp({ origins: [pages.origin] }), launch()]);
  browser = launched;
  // LetShare rooms are in the default app, whose key the server prints when it starts with local settings.
  app = sandbox;
  app.key = await sandbox.server.key();
});
after(async () => {
  await browser?.close();
  pages?.close();
  await app?.stop();
});

/** A page that has joined a room; `call` calls a method of its Room (tests/browser/pages/room.js). */
async function join(room, id) {
  const { page, complaints, close } = await openPage(browser, pages.origin);
  await page.evaluate((settings) => {
    globalThis.room = new Room(settings);
    return room.connect();
  }, { server: app.server.ws, token: staticToken, id, room });
  const call = (method, ...args) => page.evaluate(([method, args]) => room[method](...args), [method, args]);
  const state = () => page.evaluate(() => ({ heard: room.heard, errors: room.errors, closed: room.closed }));
  return { call, state, complaints, close, id };
}

let rooms = 0;
for (const [format, useBinaryProtocol] of Object.entries(FORMATS)) {
  test(`an Ably client and LetShare pages hear each other in a room: ${format}`, LIMIT, async () => {
    // docs/protocols/letshare.md §2.4: 2 to 12 characters.
    const name = `meet ${(rooms += 1)}`;
    const client = await app.connected({ useBinaryProtocol, clientId: 'sdk' });
    const channel = client.channels.get(name);
    const inbox = await Inbox.of(channel);
    const [ming, bob] = [await join(name, '小明:1aaaaa'), await join(name, 'bob:2bbbbb')];

    // A signal to one page is heard by that page and by the Ably client, which hears the whole channel.
    await ming.call('text', bob.id, 'Grüße 你好 👋');
    await inbox.until((all) => all.some(({ data }) => data.type === 'text'), 'the text of the page');
    const text = inbox.items.find(({ data }) => data.type === 'text');
    assert.equal(text.name, `signal:${bob.id}`);
    assert.deepEqual(text.data, { type: 'text', message: 'Grüße 你好 👋', to: bob.id, userType: 'desktop', from: ming.id });
    assert.ok(inbox.items.some(({ name, data }) => name === 'signal:all' && data.type === 'discover'));

    // An Ably client speaks to one page, and to all.
    await channel.publish(`signal:${bob.id}`, { type: 'text', message: 'only you', to: bob.id, from: 'sdk' });
    await channel.publish('signal:all', { type: 'note', message: 'all of you', from: 'sdk' });
    for (const page of [ming, bob]) {
      const { channel: room, event, data, timestamp } = await page.call('expect', { message: 'all of you' });
      assert.deepEqual([room, event, data], [name, 'signal:all', { type: 'note', message: 'all of you', from: 'sdk' }]);
      assert.ok(Number.isInteger(timestamp));
    }
    const secret = ({ data }) => data?.message === 'only you';
    assert.equal((await bob.state()).heard.filter(secret).length, 1);
    assert.equal((await ming.state()).heard.filter(secret).length, 0);

    // What the pages said is in the history of the channel, in its order.
    const stored = (await channel.history({ direction: 'forwards' })).items.map(({ name, data }) => [name, data]);
    const heard = inbox.items.map(({ name, data }) => [name, data]);
    assert.deepEqual(stored.filter(([, { from }]) => from === 'sdk'), heard.filter(([, { from }]) => from === 'sdk'));
    assert.deepEqual(stored.find(([, { type }]) => type === 'text'), [text.name, text.data]);

    for (const page of [ming, bob]) {
      const { errors, closed } = await page.state();
      assert.deepEqual([page.complaints, errors, closed], [[], [], null], page.id);
      await page.close();
    }
    // A page that goes says so.
    await inbox.until((all) => all.some(({ data }) => data.type === 'leave' && data.from === bob.id), "Bob's leave");
  });
}
