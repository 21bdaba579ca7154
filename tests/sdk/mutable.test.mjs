// Messages that are changed after they were published (docs/protocols/ably.md §9.1 to §9.4).

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { FORMATS, fresh, startApp } from './app.mjs';

const LIMIT = { timeout: 60_000 };

let app;
before(async () => (app = await startApp()));
after(() => app?.stop());

/** What a subscriber hears, in order; `until` waits for so many. */
async function listen(channel) {
  const heard = [];
  let wake = () => {};
  await channel.subscribe((message) => {
    heard.push(message);
    wake();
  });
  heard.until = async (count) => {
    while (heard.length < count) await new Promise((resolve) => (wake = resolve));
    return heard;
  };
  return heard;
}

/** What an application shows of each message. */
function shown(messages) {
  const texts = new Map();
  for (const { action, serial, data } of messages) {
    texts.set(serial, action === 'message.append' ? texts.get(serial) + data : data);
  }
  return texts;
}

for (const [format, useBinaryProtocol] of Object.entries(FORMATS)) {
  test(`updates, deletes and appends of two clients: ${format}`, LIMIT, async () => {
    const name = fresh('mutable:both');
    const [ann, bob] = await Promise.all(['ann', 'bob'].map((clientId) => app.connected({ clientId, useBinaryProtocol })));
    const [annChannel, bobChannel] = [ann, bob].map((client) => client.channels.get(name));
    const heard = await listen(annChannel);
    const { serials: [serial] } = await annChannel.publish('greet', 'hello');

    const said = { description: 'louder', metadata: { why: 'test' } };
    const { versionSerial } = await bobChannel.updateMessage({ serial, data: 'HELLO' }, said);
    await bobChannel.appendMessage({ serial, data: ' WORLD' });
    const [created, updated, appended] = await heard.until(3);
    assert.deepEqual([created, updated, appended].map(({ action }) => action), [
      'message.create', 'message.update', 'message.append',
    ]);
    assert.deepEqual([updated.name, updated.data, updated.clientId], ['greet', 'HELLO', 'ann']);
    assert.equal(updated.version.serial, versionSerial);
    assert.deepEqual([updated.version.clientId, updated.version.description], ['bob', 'louder']);
    assert.deepEqual(updated.version.metadata, { why: 'test' });
    assert.equal(+updated.timestamp, +created.timestamp);
    assert.equal(shown(heard).get(serial), 'HELLO WORLD');

    // By HTTP it is the same message.
    const rest = app.rest({ useBinaryProtocol }).channels.get(name);
    const latest = await rest.getMessage(serial);
    assert.deepEqual([latest.action, latest.data], ['message.update', 'HELLO WORLD']);
    await rest.deleteMessage({ serial, data: '' });
    const deleted = (await heard.until(4))[3];
    assert.deepEqual([deleted.action, deleted.data], ['message.delete', '']);
    const versions = await rest.getMessageVersions(serial);
    assert.deepEqual(versions.items.map(({ action }) => action), ['message.create', 'message.update', 'message.delete']);
    const history = await rest.history();
    assert.deepEqual(history.items.map(({ action, serial: one }) => [action, one]), [['message.delete', serial]]);
  });

  test(`a stream of appends is whole for everybody, whenever they come: ${format}`, LIMIT, async () => {
    const name = fresh('mutable:stream');
    const writer = (await app.connected({ useBinaryProtocol })).channels.get(name);
    const { serials: [serial] } = await writer.publish('answer', '');
    const readers = [];
    let text = '';
    for (let n = 0; n < 60; n += 1) {
      text += `${n} `;
      await writer.appendMessage({ serial, data: `${n} ` });
      if (n % 20 === 10) {
        const params = n === 10 ? {} : { rewind: '1' };
        readers.push(await listen((await app.connected({ useBinaryProtocol })).channels.get(name, { params })));
      }
    }
    for (const heard of readers) {
      while (shown(heard).get(serial) !== text) await heard.until(heard.length + 1);
      assert.equal(heard[0].action, 'message.update', 'the first is the whole message');
      assert.ok(heard.slice(1).every(({ action }) => action === 'message.append'));
    }
  });

  test(`what cannot be changed says why: ${format}`, LIMIT, async () => {
    const client = await app.connected({ useBinaryProtocol });
    const plain = client.channels.get(fresh('plain'));
    const { serials: [serial] } = await plain.publish('x', 'y');
    await assert.rejects(plain.updateMessage({ serial, data: 'z' }), ({ code }) => code === 93002);
    const mutable = client.channels.get(fresh('mutable:none'));
    await assert.rejects(mutable.updateMessage({ serial, data: 'z' }), ({ code }) => code === 40400);
    await assert.rejects(mutable.getMessage(serial), ({ code }) => code === 40400);
  });
}
