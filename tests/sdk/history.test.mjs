// What was said before, page by page, in both directions (docs/protocols/ably.md §8.1 to §8.4).

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { FORMATS, Inbox, fresh, range, startApp } from './app.mjs';

const LIMIT = { timeout: 60_000 };

let app;
before(async () => (app = await startApp()));
after(() => app?.stop());

/** All pages from this one on, as lists of names. */
async function pages(page) {
  const all = [];
  for (; page; page = await page.next()) {
    all.push(page.items.map(({ name }) => name));
    assert.equal(page.hasNext(), !page.isLast());
    if (page.isLast()) break;
  }
  return all;
}

const names = (from, to) => range(to - from).map((n) => `n${from + n}`);

for (const namespace of ['', 'persisted:']) {
  for (const [format, useBinaryProtocol] of Object.entries(FORMATS)) {
    const kind = `${namespace || 'plain '}${format}`;

    test(`25 messages come in pages of 10, forwards and backwards: ${kind}`, LIMIT, async () => {
      const name = fresh(`${namespace}history`);
      const client = await app.connected({ useBinaryProtocol });
      const live = client.channels.get(name);
      for (const n of range(5)) await live.publish(names(n * 5, n * 5 + 5).map((name) => ({ name, data: { name } })));

      const ends = [live, app.rest({ useBinaryProtocol }).channels.get(name)];
      for (const channel of ends) {
        const forwards = await channel.history({ limit: 10, direction: 'forwards' });
        assert.deepEqual(await pages(forwards), [names(0, 10), names(10, 20), names(20, 25)]);
        const backwards = await channel.history({ limit: 10 });
        const reversed = names(0, 25).reverse();
        assert.deepEqual(await pages(backwards), [reversed.slice(0, 10), reversed.slice(10, 20), reversed.slice(20)]);
      }

      // Pages do not shift under new messages, and one may go back to the first (§8.3).
      const reversed = names(0, 25).reverse();
      const seconds = await Promise.all(ends.map(async (channel) => (await channel.history({ limit: 10 })).next()));
      await live.publish('later', null);
      for (const second of seconds) {
        assert.deepEqual(second.items.map(({ name }) => name), reversed.slice(10, 20));
        assert.deepEqual((await second.first()).items.map(({ name }) => name), reversed.slice(0, 10));
        assert.deepEqual((await second.current()).items.map(({ name }) => name), reversed.slice(10, 20));
        assert.deepEqual((await second.next()).items.map(({ name }) => name), reversed.slice(20));
      }
    });

    test(`history tells what was delivered: ${kind}`, LIMIT, async () => {
      const name = fresh(`${namespace}same`);
      const client = await app.connected({ useBinaryProtocol, clientId: 'ann' });
      const channel = client.channels.get(name);
      const inbox = await Inbox.of(channel);
      const data = ['text', { an: 'object' }, Buffer.from([0, 128, 255])];
      for (const each of data) await channel.publish({ name: 'it', data: each, extras: { headers: { a: 1 } } });
      const live = await inbox.count(data.length);
      const { items } = await app.rest({ useBinaryProtocol }).channels.get(name).history({ direction: 'forwards' });
      const facts = ({ id, serial, name, data, clientId, connectionId, timestamp, extras }) =>
        ({ id, serial, name, data, clientId, connectionId, timestamp, extras });
      assert.deepEqual(items.map(facts), live.map(facts));
      assert.deepEqual(items.map((message) => message.data), data);
      assert.ok(items.every(({ clientId }) => clientId === 'ann'));
    });

    test(`untilAttach ends where the attachment begins: ${kind}`, LIMIT, async () => {
      const name = fresh(`${namespace}until`);
      const publisher = await app.connected({ useBinaryProtocol });
      const source = publisher.channels.get(name);
      for (const each of names(0, 6)) await source.publish(each, null);
      const client = await app.connected({ useBinaryProtocol });
      const channel = client.channels.get(name);
      const inbox = await Inbox.of(channel);
      for (const each of names(6, 12)) await source.publish(each, null);
      await inbox.count(6);
      const before = await channel.history({ untilAttach: true, limit: 4 });
      assert.deepEqual(await pages(before), [names(2, 6).reverse(), names(0, 2).reverse()]);
      assert.deepEqual(inbox.items.map(({ name }) => name), names(6, 12));
    });
  }
}

for (const [format, useBinaryProtocol] of Object.entries(FORMATS)) {
  // §11.8: with an app of its own, since each test of this file counts.
  test(`statistics of the past and of this hour: ${format}`, LIMIT, async () => {
    const own = await startApp();
    try {
      const rest = own.rest({ useBinaryProtocol });
      const fixtures = [
        { intervalId: '2025-02-03:15:04', inbound: { realtime: { messages: { count: 60, data: 6000 } } } },
        { intervalId: '2025-02-03:15:05', inbound: { realtime: { messages: { count: 70, data: 7000 } } } },
      ];
      assert.equal((await rest.request('post', '/stats', 3, null, fixtures, null)).statusCode, 201);
      const count = ({ items }) => items.map(({ entries }) => entries['messages.inbound.all.messages.count']);
      const first = await rest.stats({ end: '2025-02-03:15:05', limit: 1 });
      assert.deepEqual(count(first), [70]);
      assert.equal(first.isLast(), false);
      const second = await first.next();
      assert.deepEqual(count(second), [60]);
      assert.equal(second.isLast(), true);
      assert.deepEqual(count(await second.first()), [70]);

      await rest.channels.get('counted').publish('name', 'data');
      for (let attempt = 0; ; attempt += 1) {
        const { items } = await rest.stats({ unit: 'hour' });
        if (items[0]?.entries['messages.inbound.rest.messages.count'] === 1 && items[0].inProgress) break;
        assert.ok(attempt < 100, JSON.stringify(items));
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    } finally {
      await own.stop();
    }
  });
}
