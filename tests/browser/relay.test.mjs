// Files through the server, between real pages that frame them as the app does (docs/protocols/letshare.md §3).

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launch, openPage, servePages } from './chromium.mjs';
import { startSite } from '../sdk/nodes.mjs';
import { staticToken } from './server.mjs';

const INVITE_CODE = 'browser-tests-invite-code';

let browser, pages, server;
before(async () => {
  pages = await servePages();
  const settings = { LETSHARE_FILE_TRANSFER_PRO_INVITE_CODE: INVITE_CODE };
  [server, browser] = await Promise.all([startSite({ origins: [pages.origin], settings }), launch()]);
});
after(async () => {
  await browser?.close();
  pages?.close();
  await server?.stop();
});

/** A page that has joined. */
async function join(room, id, proToken) {
  const opened = await openPage(browser, pages.origin);
  const settings = { server: server.ws, token: staticToken, id, room, proToken };
  await opened.page.evaluate((settings) => {
    globalThis.room = new Room(settings);
    return room.connect();
  }, settings);
  const files = (method, ...args) =>
    opened.page.evaluate(([method, args]) => room.files[method](...args), [method, args]);
  const call = (method, ...args) =>
    opened.page.evaluate(([method, args]) => room[method](...args), [method, args]);
  const state = () => opened.page.evaluate(() => ({ heard: room.heard, errors: room.errors, closed: room.closed }));
  return { ...opened, id, files, call, state };
}

/** A page must have thrown nothing and seen no error: the app shows each as a red toast. */
async function assertQuiet(...joined) {
  for (const each of joined) {
    assert.deepEqual(each.complaints, [], each.id);
    const { errors, closed } = await each.state();
    assert.deepEqual(errors, [], each.id);
    assert.equal(closed, null, each.id);
  }
}

test('a page sends 20 MB to another through the server, and a third sees nothing of it', async () => {
  const ann = await join('files', 'ann:1aaaaa');
  const ming = await join('files', '小明:zz7aljb');
  const cat = await join('files', 'cat:3ccccc');
  const bytes = 20_000_000;

  const [sent, received] = await Promise.all([ann.files('send', ming.id, bytes), ming.files('received', ann.id)]);
  assert.deepEqual(received, { size: bytes, hash: sent });

  const kinds = async (page) => {
    const { heard } = await page.state();
    const transfers = heard.filter(({ type }) => type.startsWith('file:'));
    return new Set(transfers.map(({ type }) => type.slice('file:transfer:'.length)));
  };
  assert.deepEqual(await kinds(ann), new Set(['accept', 'ack', 'complete']));
  assert.deepEqual(await kinds(ming), new Set(['request', 'start', 'end']));
  assert.deepEqual(await kinds(cat), new Set());
  await assertQuiet(ann, ming, cat);
  for (const each of [ann, ming, cat]) await each.close();
});

test('files cross between two pages while texts go on', async () => {
  const ann = await join('crossing', 'ann:1aaaaa');
  const ben = await join('crossing', 'ben:2bbbbb');
  const bytes = 5_000_000;
  const moving = Promise.all([
    ann.files('send', ben.id, bytes),
    ben.files('send', ann.id, bytes + 1),
    ben.files('received', ann.id),
    ann.files('received', ben.id),
  ]);
  await ann.files('someOf', ben.id, 10);
  await ann.call('text', ben.id, 'meanwhile');
  await ben.call('expect', { type: 'text', message: 'meanwhile' });
  const [fromAnn, fromBen, atBen, atAnn] = await moving;
  assert.deepEqual(atBen, { size: bytes, hash: fromAnn });
  assert.deepEqual(atAnn, { size: bytes + 1, hash: fromBen });
  await assertQuiet(ann, ben);
  for (const each of [ann, ben]) await each.close();
});

test('a page that becomes PRO across origins may offer what a free one may not', async () => {
  const bytes = 50 * 1024 * 1024 + 1;
  const free = await join('pro', 'free:1fffff');
  await assert.rejects(free.files('send', 'nobody', bytes), /升级到 PRO/);

  const activate = (page, code) =>
    page.page.evaluate(
      async ([url, body]) => {
        const answer = await fetch(url, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body });
        return { status: answer.status, body: await answer.json() };
      },
      [`${server.http}/api/pro/activate`, JSON.stringify({ user_id: page.id, invite_code: code })],
    );
  const wrong = await activate(free, 'wrong');
  assert.deepEqual([wrong.status, wrong.body.error], [403, '邀请码无效']);
  const { status, body } = await activate(free, INVITE_CODE);
  assert.equal(status, 200);
  assert.ok(Date.parse(body.expires_at) > Date.now());

  // §3.6: the page reconnects with its token. The next refusal is no longer about the size.
  await assertQuiet(free);
  await free.close();
  const pro = await join('pro', free.id, body.token);
  await assert.rejects(pro.files('send', 'nobody', bytes), /找不到接收者/);
  const other = await join('pro', 'other:2ooooo', body.token);
  await assert.rejects(other.files('send', 'nobody', bytes), /升级到 PRO/);
  await assertQuiet(pro, other);
  for (const each of [pro, other]) await each.close();
});
