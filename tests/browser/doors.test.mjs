// Who is let in and who is not, seen from a browser and, where a page is told nothing but
// "socket failed", from a raw request; and how pages are told that the server goes away.

import assert from 'node:assert/strict';
import { request } from 'node:http';
import { after, before, test } from 'node:test';
import { launch, openPage, servePages } from './chromium.mjs';
import { startServer, staticToken } from './server.mjs';

let browser, pages, strangers, server;
before(async () => {
  pages = await servePages();
  strangers = await servePages();
  [server, browser] = await Promise.all([startServer({ origins: [pages.origin] }), launch()]);
});
after(async () => {
  await browser?.close();
  pages?.close();
  strangers?.close();
  await server?.stop();
});

/** Opens a page of `origin` and tries to join; resolves to what became of it. */
async function tryToJoin(origin, token) {
  const opened = await openPage(browser, origin);
  const result = await opened.page.evaluate(
    async (settings) => {
      globalThis.room = new Room(settings);
      return room.connect().then(() => 'joined', (error) => error.message);
    },
    { server: server.ws, token, id: 'pat:1ppppp', room: 'doors' },
  );
  return { ...opened, result };
}

/** A raw upgrade request; resolves to the status and body of the answer, 101 for an upgrade. */
function upgrade(path, headers = {}) {
  return new Promise((resolve, reject) => {
    const handshake = {
      connection: 'Upgrade',
      upgrade: 'websocket',
      'sec-websocket-version': '13',
      'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
    };
    const sent = request(server.http + path, { headers: { ...handshake, ...headers }, agent: false });
    sent.on('error', reject);
    sent.on('upgrade', (answer, socket) => {
      socket.destroy();
      resolve({ status: answer.statusCode, body: '' });
    });
    sent.on('response', async (answer) => {
      let body = '';
      for await (const chunk of answer.setEncoding('utf8')) body += chunk;
      resolve({ status: answer.statusCode, body, headers: answer.headers });
    });
    sent.end();
  });
}

test('a page of an allowed origin is let in, one of another origin is not', async () => {
  const friend = await tryToJoin(pages.origin, staticToken);
  assert.equal(friend.result, 'joined');
  const stranger = await tryToJoin(strangers.origin, staticToken);
  assert.equal(stranger.result, 'socket failed');

  // What browsers do not show to the page: why (docs/protocols/letshare.md §1.2).
  const query = `token=${staticToken}&userId=pat:1ppppp`;
  for (const path of ['/', '/ws']) {
    assert.equal((await upgrade(`${path}?${query}`, { origin: pages.origin })).status, 101);
    assert.equal((await upgrade(`${path}?${query}`)).status, 101, 'no Origin: not a browser');
    for (const origin of [strangers.origin, 'null', 'http://192.168.1.evil.example']) {
      const { status, body } = await upgrade(`${path}?${query}`, { origin });
      const why = `origin ${origin} is not in cors.allowed_origins\n`;
      assert.deepEqual({ status, body }, { status: 403, body: why }, `${path} from ${origin}`);
    }
  }
  await friend.close();
  await stranger.close();
});

test('a page with a wrong token is not let in, and the raw answer says why', async () => {
  const page = await tryToJoin(pages.origin, 'wrong');
  assert.equal(page.result, 'socket failed');
  await page.close();

  const missing = await upgrade('/?userId=pat:1ppppp');
  assert.deepEqual([missing.status, JSON.parse(missing.body).error], [401, '缺少认证token']);
  const wrong = await upgrade('/?token=wrong&userId=pat:1ppppp');
  assert.equal(wrong.status, 401);
  assert.match(JSON.parse(wrong.body).error, /^token验证失败/);
});

test('a page may read /health across origins when its origin is allowed, else not', async () => {
  const read = async (origin) => {
    const { page, close } = await openPage(browser, origin);
    const status = await page.evaluate(
      (url) => fetch(url).then((answer) => answer.json()).then(({ status }) => status, () => 'refused'),
      `${server.http}/health`,
    ).catch(() => 'refused');
    await close();
    return status;
  };
  assert.equal(await read(pages.origin), 'healthy');
  assert.equal(await read(strangers.origin), 'refused');
});

// Last in this file, because it ends the server.
test('a stopping server closes the page with 1001', async () => {
  const { page, result, close } = await tryToJoin(pages.origin, staticToken);
  assert.equal(result, 'joined');
  const end = page.evaluate(() => room.end());
  await server.stop();
  const { code, wasClean } = await end;
  server = null;
  assert.deepEqual({ code, wasClean }, { code: 1001, wasClean: true });
  await close();
});
