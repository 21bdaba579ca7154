// The console in Chromium, beside clients that do what it shows.

import assert from 'node:assert/strict';
import { after, before, beforeEach, afterEach, test } from 'node:test';
import { launch } from './chromium.mjs';
import { startServer, staticToken } from './server.mjs';

const LIMIT = { timeout: 60_000 };

let browser, server, key, page, faults;
before(async () => {
  [server, browser] = await Promise.all([startServer({ origins: ['http://localhost:3000'] }), launch()]);
  key = await server.key();
});
after(async () => {
  await browser?.close();
  await server?.stop();
});
beforeEach(async () => {
  page = await browser.newPage();
  faults = [];
  page.on('pageerror', (error) => faults.push(error.message));
  page.on('console', (message) => message.type() === 'error' && faults.push(message.text()));
  page.on('request', (request) => {
    const url = new URL(request.url());
    if (url.protocol !== 'data:' && url.origin !== server.http) faults.push(`from elsewhere: ${url}`);
  });
});
afterEach(async () => {
  const found = faults;
  await page.context().close();
  assert.deepEqual(found, []);
});

const open = (part) => page.goto(`${server.http}/console#key=${key}`).then(() => page.goto(`${server.http}/console#/${part}`));

async function say(channel, name, data) {
  const headers = { Authorization: `Basic ${btoa(key)}`, 'Content-Type': 'application/json' };
  const body = JSON.stringify({ name, data });
  const answer = await fetch(`${server.http}/channels/${encodeURIComponent(channel)}/messages`, { method: 'POST', headers, body });
  assert.equal(answer.status, 201);
}

test('the printed link opens it, and the key does not stay in the address', LIMIT, async () => {
  assert.match(server.output(), new RegExp(`/console#key=${key}`));
  await page.goto(`${server.http}/console#key=${key}`);
  await page.getByRole('heading', { name: 'Try it' }).waitFor();
  assert.equal(page.url(), `${server.http}/console#/try`);
  assert.equal(await page.locator('#whose').textContent(), key.split(':')[0]);
});

test('the address alone leads there', LIMIT, async () => {
  await page.goto(server.http);
  await page.getByRole('heading', { name: 'Overview' }).waitFor();
  assert.equal(new URL(page.url()).pathname, '/console');
});

test('overview: figures move, and it says what runs where', LIMIT, async () => {
  await open('overview');
  await page.locator('dl.facts', { hasText: `127.0.0.1:${server.port}` }).getByText('local', { exact: true }).waitFor();
  await page.locator('figure', { hasText: 'Publish latency' }).locator('strong', { hasText: /[µm]s/ }).waitFor();
  // A server that is alone has neither.
  assert.equal(await page.locator('figure', { hasText: 'Redis round trip' }).isVisible(), false);
  assert.equal(await page.getByText('hold a lease').count(), 0);
  await page.locator('figure', { hasText: 'Memory' }).locator('strong', { hasText: 'MiB' }).waitFor();
  await page.locator('figure svg[aria-label^="Connections: now"]').waitFor();
  const row = page.locator('tr', { has: page.locator('td', { hasText: 'plain connection' }) });
  await row.locator('svg path[d]').first().waitFor({ state: 'attached' });
});

test('channels: what a client publishes is in the tail, and what is published there reaches clients', LIMIT, async () => {
  const name = 'orders: <b>1</b>/2';
  await open(`channels/${encodeURIComponent(name)}`);
  await page.getByText('attached: what is published now appears here').waitFor();
  await say(name, 'placed', { number: 17 });
  const tail = page.locator('table.tail tbody');
  await tail.getByText('{"number":17}').waitFor({ timeout: 5_000 });

  await page.getByLabel('Show lines that contain').fill('18');
  await tail.getByText('{"number":17}').waitFor({ state: 'hidden' });
  await page.getByLabel('Show lines that contain').fill('');
  await page.getByRole('button', { name: 'Pause' }).click();
  await say(name, 'placed', 'while it was paused');
  await page.getByRole('button', { name: 'Go on (1 waiting)' }).click();
  await tail.getByText('while it was paused').waitFor();

  await page.getByLabel('Name of the message').fill('answer');
  await page.getByLabel('Data of the message').fill('<img src=x onerror=alert(1)>');
  await page.getByRole('button', { name: 'Publish', exact: true }).click();
  await tail.getByText('<img src=x onerror=alert(1)>').waitFor();
  await page.getByRole('button', { name: 'Read the newest 100' }).click();
  await page.locator('tr', { hasText: 'answer' }).nth(1).waitFor();
  await page.getByRole('button', { name: 'Search' }).click();
  await page.getByRole('link', { name: /orders:/ }).waitFor();
});

test('a LetShare room is a channel of it', LIMIT, async () => {
  await open('channels/demo');
  await page.getByText('attached: what is published now appears here').waitFor();
  const other = await browser.newPage();
  await other.goto(`${server.http}/health`);
  await other.evaluate(
    ([url]) =>
      new Promise((done) => {
        const socket = new WebSocket(url);
        socket.onopen = () => socket.send(JSON.stringify({ type: 'subscribe', channel: 'demo', event: 'signal:all' }));
        socket.onmessage = ({ data }) => {
          if (!data.includes('"subscribed"')) return;
          socket.send(JSON.stringify({ type: 'publish', channel: 'demo', event: 'signal:all', data: { text: 'from a page' } }));
          done();
        };
      }),
    [`${server.ws}/?token=${staticToken}&userId=anna:1`],
  );
  await page.locator('table.tail').getByText('from a page').waitFor();
  await other.context().close();
});

test('tokens: what one says, and what the server says of it', LIMIT, async () => {
  await open('tokens');
  const paste = async (text) => {
    await page.getByLabel(/^Paste a key/).fill(text);
    await page.getByRole('button', { name: 'Ask the server' }).click();
  };
  await paste(key);
  await page.locator('td', { hasText: 'Ably key' }).waitFor();
  const verdict = (what) => page.locator('table.verdicts tr', { hasText: what }).locator('td').nth(2);
  await page.locator('table.verdicts tr').nth(4).waitFor();
  assert.equal(await verdict('read the history').textContent(), 'yes');

  const headers = { Authorization: `Basic ${btoa(key)}`, 'Content-Type': 'application/json' };
  const asked = { keyName: key.split(':')[0], capability: '{"demo":["subscribe"]}', timestamp: Date.now() };
  const answer = await fetch(`${server.http}/keys/${asked.keyName}/requestToken`, { method: 'POST', headers, body: JSON.stringify(asked) });
  const { token } = await answer.json();
  await page.getByLabel(/^Paste a key/).fill('');
  faults.length = 0;
  await paste(`Bearer ${token}`);
  await page.locator('td', { hasText: 'Ably token' }).waitFor();
  await page.locator('table.verdicts td', { hasText: '40160' }).first().waitFor();
  assert.equal(await verdict('read the history').textContent(), 'no');
  assert.equal(await verdict('see who is present').textContent(), 'yes');

  await paste(await server.mint('--user', 'anna'));
  await page.locator('td', { hasText: 'JWT of LetShare' }).waitFor();
  await page.locator('table.verdicts td', { hasText: 'this is a LetShare token' }).first().waitFor();
  // Chromium writes each refused request into its console; the page has shown it.
  faults = faults.filter((fault) => !fault.includes('status of 401'));
});

test('tokens: twenty things that people paste are explained', LIMIT, async () => {
  await open('tokens');
  const jwt = (header, claims) => [header, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.') + '.c2ln';
  const plain = { alg: 'HS256', typ: 'JWT' };
  const cases = [
    ['shared.local:secret', 'Ably key'],
    ['  shared.local:secret  ', 'Ably key'],
    ['Bearer shared.local:secret', 'Ably key'],
    ['abc123.web:a:b', 'Ably key'],
    ['abc123.web:', 'Ably key'],
    ['abc123.c2VhbGVk', 'Ably token'],
    ['Bearer abc123.c2VhbGVk', 'Ably token'],
    [staticToken, "LetShare's static token"],
    [staticToken.toUpperCase(), 'unknown'],
    [staticToken.slice(1), 'unknown'],
    [jwt(plain, { user_id: 'anna', exp: 1 }), '(past)'],
    [jwt(plain, { user_id: 'anna', exp: 4_000_000_000 }), '(to come)'],
    [jwt(plain, { user_id: 'anna' }), 'JWT of LetShare'],
    [jwt(plain, { user_id: 'ännä' }), 'ännä'],
    [jwt(plain, { nested: { a: [1] } }), '{"a":[1]}'],
    [jwt({ ...plain, kid: 'abc123.web' }, { iat: 1, exp: 2 }), 'signed with the key abc123.web'],
    [jwt({ ...plain, kid: 'abc123.web' }, { 'x-ably-capability': '{"*":["*"]}' }), 'x-ably-capability'],
    ['a.b.c', 'unknown'],
    ['not a token', 'unknown'],
    ['<img src=x onerror=alert(1)>', 'unknown'],
  ];
  assert.equal(cases.length, 20);
  const told = page.locator('#part table').first();
  for (const [text, words] of cases) {
    await page.getByLabel(/^Paste a key/).fill(text);
    await told.getByText(words).first().waitFor({ timeout: 5_000 });
  }
});

test('try it: two panes talk, and the code of it is there', LIMIT, async () => {
  await open('try');
  await page.getByText('attached').nth(1).waitFor();
  await page.getByLabel('What Alice says').fill('hello, Bob');
  await page.getByLabel('What Alice says').press('Enter');
  await page.getByLabel('What Bob sees').getByText('Alice: hello, Bob').waitFor();
  await page.locator('code', { hasText: 'channel.publish("Alice", "hello, Bob")' }).waitFor();
});

test('try it: a call through a room, with picture and text from page to page', LIMIT, async () => {
  await page.context().grantPermissions(['camera']);
  await open('try');
  await page.getByRole('button', { name: 'Call', exact: true }).click();
  for (const [who, other] of [['Alice', 'bob'], ['Bob', 'alice']]) {
    const video = page.locator(`video[aria-label^="What ${who} sees of ${other}:"]`);
    await video.waitFor();
    await page.waitForFunction((label) => document.querySelector(`video[aria-label^="${label}"]`).videoWidth > 0, `What ${who} sees of ${other}:`);
    await page.getByText(`directly connected to ${other}:`).waitFor();
  }
  for (const step of [/alice → subscribe signal:all/, /publish signal:\S+ offer/, /publish signal:\S+ answer/, /publish signal:\S+ candidate/]) {
    await page.getByLabel('What passed the server').filter({ hasText: step }).waitFor();
  }
  await page.getByLabel('In the call Bob says').fill('past the server');
  await page.getByLabel('In the call Bob says').press('Enter');
  await page.getByLabel('What Alice hears in the call').getByText('bob: past the server').waitFor();
  assert.equal(await page.getByLabel('What passed the server').getByText('past the server').count(), 0);
  await page.getByRole('button', { name: 'Use the camera for Alice' }).click();
  await page.waitForFunction(() => {
    // The drawing is 16:9, the camera 4:3.
    const { videoWidth, videoHeight } = document.querySelector('video[aria-label^="What Bob sees"]');
    return videoWidth / videoHeight < 1.5;
  });
  await page.getByRole('button', { name: 'Hang up' }).click();
  await page.locator('video').first().waitFor({ state: 'detached' });
  assert.equal(await page.locator('video').count(), 0);
  await page.getByRole('button', { name: 'Call', exact: true }).click();
  await page.locator('video').nth(1).waitFor();
});

test('nothing that clients say hides, or turns what is beside it', LIMIT, async () => {
  await open('channels/demo');
  await page.getByText('attached: what is published now appears here').waitFor();
  await say('demo', 'na\u202eme', 'safe\u202egnp.exe\u0007');
  const row = page.locator('table.tail tbody tr', { hasText: 'gnp.exe' });
  await row.waitFor();
  assert.match(await row.textContent(), /na\ufffdmesafe\ufffdgnp\.exe\ufffd$/);
});

test('without a key the admin API gives a token, and a wrong key is told', LIMIT, async () => {
  await say('without a key', 'said', 'x');
  await page.goto(`${server.http}/console#/channels/without%20a%20key`);
  await page.getByText('attached: what is published now appears here').waitFor();
  await page.getByLabel('Key').fill('shared.local:wrong');
  await page.getByRole('button', { name: 'Use', exact: true }).click();
  await page.getByText('code 40101').first().waitFor();
  faults = faults.filter((fault) => !fault.includes('status of 401'));
});

test('nobody else may frame it, and it is off unless it is wanted', LIMIT, async () => {
  const answer = await fetch(`${server.http}/console`);
  const policy = answer.headers.get('content-security-policy');
  for (const rule of ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"]) assert.ok(policy.includes(rule), policy);
  assert.equal((await fetch(`${server.http}/console/nothing.js`)).status, 404);
  const other = await startServer({ origins: ['http://localhost:3000'], settings: { LETSHARE_CONSOLE_ENABLED: 'false' } });
  try {
    assert.equal((await fetch(`${other.http}/console`)).status, 404);
  } finally {
    await other.stop();
  }
});
