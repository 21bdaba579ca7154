// Who is there, told to npm `ably` (docs/protocols/ably.md §7).

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { FORMATS, Inbox, fresh, range, startApp } from './app.mjs';

const LIMIT = { timeout: 60_000 };

let app;
before(async () => (app = await startApp()));
after(() => app?.stop());

const told = ({ action, clientId, data }) => [action, clientId, data];
const members = (list) => list.map(({ clientId, data }) => [clientId, data]).sort();

async function watch(channel) {
  const inbox = new Inbox();
  await channel.presence.subscribe((event) => inbox.put(event));
  return inbox;
}

for (const [format, useBinaryProtocol] of Object.entries(FORMATS)) {
  test(`three clients enter, update and leave, and one who comes late is told the rest: ${format}`, LIMIT, async () => {
    const name = fresh('presence');
    const [ann, ben, cat] = await Promise.all(
      ['ann', 'ben', 'cat'].map((clientId) => app.connected({ clientId, useBinaryProtocol })),
    );
    const channels = [ann, ben, cat].map((client) => client.channels.get(name));
    const hears = await Promise.all(channels.map(watch));

    await channels[0].presence.enter('here');
    await channels[1].presence.enter({ mood: 'fine' });
    await channels[2].presence.enter(Buffer.from([1, 0, 255]));
    await channels[0].presence.update('still here');
    await channels[1].presence.leave('bye');
    const expected = [
      ['enter', 'ann', 'here'],
      ['enter', 'ben', { mood: 'fine' }],
      ['enter', 'cat', Buffer.from([1, 0, 255])],
      ['update', 'ann', 'still here'],
      ['leave', 'ben', 'bye'],
    ];
    for (const inbox of hears) assert.deepEqual((await inbox.count(5)).map(told), expected);
    // §7.2: the id of a real client's event is that of its frame.
    for (const { id, connectionId } of hears[0].items) assert.match(id, new RegExp(`^${connectionId}:\\d+:\\d+$`));

    const there = [['ann', 'still here'], ['cat', Buffer.from([1, 0, 255])]];
    for (const channel of channels) assert.deepEqual(members(await channel.presence.get()), there);

    // §7.4: one who comes late is synchronised.
    const dan = await app.connected({ clientId: 'dan', useBinaryProtocol });
    const late = dan.channels.get(name);
    const lateHears = await watch(late);
    assert.deepEqual(members(await late.presence.get()), there);
    const present = (await lateHears.count(2)).map(told).sort((a, b) => a[1].localeCompare(b[1]));
    assert.deepEqual(present, [
      ['present', 'ann', 'still here'],
      ['present', 'cat', Buffer.from([1, 0, 255])],
    ]);
    assert.deepEqual(members(await late.presence.get({ clientId: 'cat' })), [there[1]]);

    // §7.8
    const rest = app.rest({ useBinaryProtocol }).channels.get(name);
    const page = await rest.presence.get();
    assert.deepEqual(members(page.items), there);
    assert.ok(page.items.every(({ action }) => action === 'present'));
    const past = await rest.presence.history({ direction: 'forwards' });
    assert.deepEqual(past.items.map(told), expected);

    // §7.6: who closes has left at once.
    ann.close();
    await lateHears.until((events) => events.some((event) => event.action === 'leave' && event.clientId === 'ann'));
    assert.deepEqual(members(await late.presence.get()), [there[1]]);
    // Who detaches has left, too.
    await channels[2].detach();
    await lateHears.until((events) => events.some((event) => event.action === 'leave' && event.clientId === 'cat'));
    assert.deepEqual(members(await late.presence.get()), []);
  });

  test(`a sync of many pages shows every member once: ${format}`, LIMIT, async () => {
    const name = fresh('crowd');
    const host = await app.connected({ useBinaryProtocol });
    const channel = host.channels.get(name);
    await channel.attach();
    const crowd = range(150).map((n) => `member ${String(n).padStart(3, '0')}`);
    await Promise.all(crowd.map((clientId) => channel.presence.enterClient(clientId, clientId.repeat(20))));

    const guest = await app.connected({ useBinaryProtocol });
    const seen = members(await guest.channels.get(name).presence.get());
    assert.deepEqual(seen, crowd.map((clientId) => [clientId, clientId.repeat(20)]));

    const rest = app.rest({ useBinaryProtocol }).channels.get(name);
    const first = await rest.presence.get({ limit: 100 });
    const second = await first.next();
    assert.deepEqual([first.items.length, second.items.length, second.isLast()], [100, 50, true]);
    assert.deepEqual(members([...first.items, ...second.items]), seen);
  });

  test(`a client may not enter as somebody else: ${format}`, LIMIT, async () => {
    const ann = await app.connected({ clientId: 'ann', useBinaryProtocol });
    const channel = ann.channels.get(fresh('imposter'));
    await channel.attach();
    await assert.rejects(channel.presence.enterClient('ben'), ({ code }) => code === 40012);
    await channel.presence.enter();
    assert.deepEqual(members(await channel.presence.get()).map(([clientId]) => clientId), ['ann']);
  });
}
