// What clients say about messages, and what it comes to (docs/protocols/ably.md §9.5 to §9.7).

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { FORMATS, Inbox, fresh, range, reach, refused, startApp } from './app.mjs';

const LIMIT = { timeout: 60_000 };
const MODES = ['PUBLISH', 'SUBSCRIBE', 'ANNOTATION_PUBLISH', 'ANNOTATION_SUBSCRIBE'];

let app;
before(async () => (app = await startApp()));
after(() => app?.stop());

/** A channel with a message, the annotations of it that come, and its summaries. */
async function withMessage(useBinaryProtocol, clientId = 'ann') {
  const name = fresh('mutable:annotated');
  const client = await app.connected({ useBinaryProtocol, clientId });
  const channel = client.channels.get(name, { modes: MODES });
  const [annotations, messages] = [new Inbox(), await Inbox.of(channel)];
  await channel.annotations.subscribe((annotation) => annotations.put(annotation));
  await channel.publish('question', 'yes or no?');
  const [message] = await messages.count(1);
  return { name, client, channel, annotations, messages, message };
}

const summaryOf = (message) => message.annotations?.summary;

/** Waits until the summary that is sent is `expected`. */
async function summary(messages, expected) {
  const is = (item) => {
    try {
      assert.deepEqual(summaryOf(item), expected);
      return item.action === 'message.summary';
    } catch {
      return false;
    }
  };
  return (await messages.until((items) => is(items.at(-1)), `the summary ${JSON.stringify(expected)}`)).at(-1);
}

const list = (...clientIds) => ({ total: clientIds.length, clientIds, clipped: false });

for (const [format, useBinaryProtocol] of Object.entries(FORMATS)) {
  test(`an annotation is delivered, listed and summed up: ${format}`, LIMIT, async () => {
    const { name, client, channel, annotations, messages, message } = await withMessage(useBinaryProtocol);
    const type = 'reaction:distinct.v1';
    await channel.annotations.publish(message, { type, name: '👍', data: { why: 'good' }, extras: { headers: { a: 1 } } });
    const [live] = await annotations.count(1);
    assert.deepEqual([live.action, live.type, live.name], ['annotation.create', type, '👍']);
    assert.deepEqual([live.messageSerial, live.clientId], [message.serial, 'ann']);
    assert.deepEqual([live.data, live.extras], [{ why: 'good' }, { headers: { a: 1 } }]);
    assert.equal(live.connectionId, client.connection.id);
    assert.ok(live.id && live.timestamp >= message.timestamp && live.serial > message.serial);

    const told = await summary(messages, { [type]: { '👍': list('ann') } });
    assert.deepEqual([told.serial, told.name, told.data], [message.serial, 'question', undefined]);

    // By HTTP, of another client; its own summary, and what is read later.
    const rest = app.rest({ useBinaryProtocol, clientId: 'bob' }).channels.get(name);
    await rest.annotations.publish(message.serial, { type, name: '👍' });
    await rest.annotations.publish(message.serial, { type, name: '😕' });
    const both = { [type]: { '👍': list('ann', 'bob'), '😕': list('bob') } };
    await summary(messages, both);
    const { items } = await rest.annotations.get(message.serial);
    assert.deepEqual(items.map((item) => [item.clientId, item.name]), [['ann', '👍'], ['bob', '👍'], ['bob', '😕']]);
    const facts = ({ id, serial, timestamp, messageSerial, data, connectionId }) =>
      ({ id, serial, timestamp, messageSerial, data, connectionId });
    assert.deepEqual(facts(items[0]), facts(live));
    assert.deepEqual(summaryOf((await rest.history()).items[0]), both);
    assert.deepEqual(summaryOf(await rest.getMessage(message.serial)), both);

    await rest.annotations.delete(message.serial, { type, name: '👍' });
    await channel.annotations.delete(message, { type, name: '👍' });
    await summary(messages, { [type]: { '😕': list('bob') } });
    const kinds = (await annotations.count(5)).map(({ action }) => action);
    assert.deepEqual(kinds.slice(3), ['annotation.delete', 'annotation.delete']);
    await rest.annotations.delete(message.serial, { type, name: '😕' });
    await summary(messages, {});
  });

  test(`each method sums up in its own way: ${format}`, LIMIT, async () => {
    const { name, channel, messages, message } = await withMessage(useBinaryProtocol);
    const rest = app.rest({ useBinaryProtocol, clientId: 'bob' }).channels.get(name);
    const nobody = app.rest({ useBinaryProtocol }).channels.get(name);
    const say = (who, type, name, count) => who.annotations.publish(message, { type, name, count });
    for (const who of [channel, rest, nobody]) await say(who, 'seen:total.v1');
    for (const who of [channel, rest, rest]) await say(who, 'spam:flag.v1');
    for (const who of [channel, rest]) await say(who, 'tag:distinct.v1', 'x');
    await say(channel, 'tag:distinct.v1', 'y');
    for (const name of ['red', 'blue']) await say(rest, 'color:unique.v1', name);
    await say(channel, 'color:unique.v1', 'red');
    await say(channel, 'stars:multiple.v1', 's', 4);
    await say(channel, 'stars:multiple.v1', 's');
    await say(nobody, 'stars:multiple.v1', 's', 2);
    await summary(messages, {
      'seen:total.v1': { total: 3 },
      'spam:flag.v1': list('ann', 'bob'),
      'tag:distinct.v1': { x: list('ann', 'bob'), y: list('ann') },
      'color:unique.v1': { blue: list('bob'), red: list('ann') },
      'stars:multiple.v1': {
        s: { total: 7, clientIds: { ann: 5 }, totalUnidentified: 2, totalClientIds: 1, clipped: false },
      },
    });
  });

  test(`pages of annotations, oldest first, and no empty last one: ${format}`, LIMIT, async () => {
    const { channel, message } = await withMessage(useBinaryProtocol);
    const names = range(6).map((n) => `n${n}`);
    for (const name of names) await channel.annotations.publish(message, { type: 'tag:distinct.v1', name });
    const pages = [];
    for (let page = await channel.annotations.get(message, { limit: 2 }); page; page = await page.next()) {
      pages.push(page.items.map(({ name }) => name));
      if (page.isLast()) break;
    }
    assert.deepEqual(pages, [names.slice(0, 2), names.slice(2, 4), names.slice(4)]);
  });

  test(`who comes back or comes late has the summary: ${format}`, LIMIT, async () => {
    const { name, channel, messages, message } = await withMessage(useBinaryProtocol);
    const reader = await app.connected({ useBinaryProtocol, clientId: 'reader' });
    const seen = await Inbox.of(reader.channels.get(name));
    // Its transport breaks, and the client comes back by itself.
    const gone = reach(reader.connection, 'disconnected');
    reader.connection.connectionManager.activeProtocol.getTransport().disconnect();
    await gone;
    await channel.annotations.publish(message, { type: 'tag:distinct.v1', name: 'x' });
    const expected = { 'tag:distinct.v1': { x: list('ann') } };
    await summary(messages, expected);
    await summary(seen, expected);

    const late = await app.connected({ useBinaryProtocol });
    const rewound = await Inbox.of(late.channels.get(name, { params: { rewind: '1' } }));
    const [first] = await rewound.count(1);
    assert.deepEqual([first.name, first.data, summaryOf(first)], ['question', 'yes or no?', expected]);
  });
}

test('what cannot be annotated is refused, and the connection goes on', LIMIT, async () => {
  const { name, client, channel, message } = await withMessage(false);
  const [type, other] = ['tag:distinct.v1', 'x'];
  await refused(channel.annotations.publish(message, { name: other }), 40003);
  await refused(channel.annotations.publish(message, { type }), 40003);
  await refused(channel.annotations.publish('no-serial', { type, name: other }), 40003);
  const unknown = message.serial.replace(/^\d{14}/, '01700000000000');
  await refused(channel.annotations.publish(unknown, { type, name: other }), 40400);
  const rest = app.rest().channels.get(name);
  await refused(rest.annotations.publish(message, { type, name: other }), 40012);
  await refused(rest.annotations.publish(unknown, { type: 'seen:total.v1' }), 40400);
  const plain = client.channels.get(fresh('plain'));
  await refused(plain.annotations.publish(message, { type, name: other }), 93002);
  const reader = app.rest({ key: app.keys[1], clientId: 'bob' }).channels.get(name);
  await refused(reader.annotations.publish(message, { type, name: other }), 40160);
  await channel.annotations.publish(message, { type, name: other });
});
