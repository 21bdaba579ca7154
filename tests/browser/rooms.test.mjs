// Real pages, the real binary: what a LetShare page does in a room (docs/protocols/letshare.md §1, §2).

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launch, openPage, servePages } from './chromium.mjs';
import { startSite } from '../sdk/nodes.mjs';
import { staticToken } from './server.mjs';

const MEBIBYTE = 1024 * 1024;

let browser, pages, server;
before(async () => {
  pages = await servePages();
  [server, browser] = await Promise.all([startSite({ origins: [pages.origin] }), launch()]);
});
after(async () => {
  await browser?.close();
  pages?.close();
  await server?.stop();
});

/** A page that has joined; `path` is where it connects, `token` what it shows. */
async function join(room, id, { path = '', token = staticToken } = {}) {
  const opened = await openPage(browser, pages.origin);
  const settings = { server: server.ws + path, token, id, room };
  await opened.page.evaluate((settings) => {
    globalThis.room = new Room(settings);
    return room.connect();
  }, settings);
  const call = (method, ...args) =>
    opened.page.evaluate(([method, args]) => room[method](...args), [method, args]);
  const state = () => opened.page.evaluate(() => ({ heard: room.heard, errors: room.errors, closed: room.closed }));
  return { ...opened, id, call, state };
}

const messages = ({ heard }) => heard.filter(({ type }) => type === 'message');

/** A page must have thrown nothing and seen no error: the app shows each as a red toast. */
async function assertQuiet(...joined) {
  for (const each of joined) {
    assert.deepEqual(each.complaints, [], each.id);
    const { errors, closed } = await each.state();
    assert.deepEqual(errors, [], each.id);
    assert.equal(closed, null, each.id);
  }
}

test('two pages open a data channel through the room and send 1 MiB; a third sees none of their signals', async () => {
  const carol = await join('演示 room-1', '卡罗:ccc333');
  const ming = await join('演示 room-1', '小明:zz7aljb');
  const bob = await join('演示 room-1', 'bob😀:aa1bcd', { path: '/ws' });

  const received = bob.call('receivedBytes', ming.id, MEBIBYTE);
  const sent = await ming.call('sendBytes', bob.id, MEBIBYTE);
  assert.equal(await received, sent);
  // And the other way, on the same data channel.
  const back = ming.call('receivedBytes', bob.id, MEBIBYTE);
  assert.equal(await bob.call('sendBytes', ming.id, MEBIBYTE), await back);

  // Carol's own data channel with each of them is her sign that her page works too.
  for (const other of [ming, bob]) {
    const bytes = carol.call('receivedBytes', other.id, 1024);
    assert.equal(await other.call('sendBytes', carol.id, 1024), await bytes);
  }

  // A last word to all from both: by the order of the room, what they had sent before has arrived where it has.
  for (const each of [ming, bob]) await each.call('publish', { type: 'discover', isReply: true, last: true });
  for (const [to, from] of [[carol, ming], [carol, bob], [ming, bob], [bob, ming]]) {
    await to.call('expect', { from: from.id, last: true });
  }

  const [seenByMing, seenByBob, seenByCarol] = await Promise.all([ming.state(), bob.state(), carol.state()]);
  const kinds = (state, from) =>
    new Set(messages(state).filter(({ data }) => data.to && data.from === from).map(({ data }) => data.type));
  // §2.6: Bob came last, so it is Ming who replies to a discover; and `zz7aljb` sorts above
  // `aa1bcd`, so it is Ming who offers.
  assert.deepEqual(kinds(seenByBob, ming.id), new Set(['discover', 'offer', 'candidate']));
  assert.deepEqual(kinds(seenByMing, bob.id), new Set(['answer', 'candidate']));

  for (const [each, seen] of [[ming, seenByMing], [bob, seenByBob], [carol, seenByCarol]]) {
    const own = ['signal:all', `signal:${each.id}`];
    const strangers = messages(seen).filter(({ event, data }) => !own.includes(event) || (data.to ?? each.id) !== each.id);
    assert.deepEqual(strangers, [], `${each.id} saw signals that are not for it`);
    assert.deepEqual(messages(seen).filter(({ data }) => data.from === each.id), [], `${each.id} heard itself`);
  }
  await assertQuiet(carol, ming, bob);
  for (const each of [carol, ming, bob]) await each.close();
});

test('text goes both ways, byte for byte, to the page it is for', async () => {
  const words = 'Grüße 你好 👋 <b>&amp;</b> \u2028 "quoted" \\ back\u0000slash';
  const ann = await join('text', 'ann:1aaaaa');
  const ben = await join('text', 'ben:2bbbbb');
  const cat = await join('text', 'cat:3ccccc');

  await ann.call('text', ben.id, words);
  assert.equal((await ben.call('expect', { type: 'text', from: ann.id })).data.message, words);
  await ben.call('text', ann.id, words.repeat(500));
  assert.equal((await ann.call('expect', { type: 'text', from: ben.id })).data.message, words.repeat(500));

  await ann.call('publish', { type: 'discover', isReply: true, last: true });
  await cat.call('expect', { last: true });
  await ben.call('publish', { type: 'discover', isReply: true, last: true });
  await cat.call('expect', { from: ben.id, last: true });
  assert.deepEqual(messages(await cat.state()).filter(({ data }) => data.type === 'text'), []);
  await assertQuiet(ann, ben, cat);
  for (const each of [ann, ben, cat]) await each.close();
});

test('a page may carry a token from `token mint`, bound to its user', async () => {
  const token = await server.mint('--user', '小红');
  const hong = await join('minted', '小红:9zzzzz', { token });
  const dan = await join('minted', 'dan:0aaaaa');
  await dan.call('text', hong.id, 'hello');
  const { data, event, channel, timestamp } = await hong.call('expect', { type: 'text' });
  assert.equal(data.message, 'hello');
  assert.equal(event, `signal:${hong.id}`);
  assert.equal(channel, 'minted');
  assert.ok(Number.isInteger(timestamp));
  await assertQuiet(hong, dan);

  // §1.3 [rec]: user_id X lets userId X or X:<anything> in, nobody else.
  await assert.rejects(join('minted', 'mallory:1bbbbb', { token }), /socket failed/);
  for (const each of [hong, dan]) await each.close();
});

test('a page changes its room on the same socket and hears nothing more of the old one', async () => {
  const eve = await join('old room', 'eve:1eeeee');
  const fay = await join('old room', 'fay:2fffff');
  const gil = await join('new room', 'gil:3ggggg');

  await fay.call('moveTo', 'new room');
  await gil.call('expect', { type: 'discover', from: fay.id });
  await eve.call('publish', { type: 'discover', isReply: true, old: true });
  await eve.call('moveTo', 'new room');
  await fay.call('expect', { type: 'discover', from: eve.id, channel: undefined });
  const { heard } = await fay.state();
  assert.ok(!heard.some(({ data }) => data?.old), 'the old room still reaches the page');
  await assertQuiet(eve, fay, gil);
  for (const each of [eve, fay, gil]) await each.close();
});

test('a closing page says leave, and the others hear it', async () => {
  const ida = await join('leaving', 'ida:1iiiii');
  const jan = await join('leaving', 'jan:2jjjjj');
  await jan.page.goto('about:blank');
  await ida.call('expect', { type: 'leave', from: jan.id });
  await assertQuiet(ida);
  for (const each of [ida, jan]) await each.close();
});
