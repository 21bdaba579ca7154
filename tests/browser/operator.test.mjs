// What an operator does in the console, beside real clients: connections, disconnecting and blocking, the password, who is kept out.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { launch } from './chromium.mjs';
import { startServer } from './server.mjs';

const LIMIT = { timeout: 90_000 };
const PASSWORD = 'correct horse battery';
const CHANNELS = 10_000;

const { Realtime, Rest } = createRequire(new URL('../sdk/package.json', import.meta.url))('ably');
const axe = createRequire(import.meta.url).resolve('axe-core/axe.min.js');

const key = 'shared.one:a-secret-of-the-tests-0123456789';
const APPS = `apps:
  - id: shared
    keys: [{id: one, secret: ${key.split(':')[1]}}, {id: revocable, secret: another-secret-0123456789, revocableTokens: true}]
    namespaces: [{id: mutable, mutableMessages: true}]
`;

let browser, server, local, folder;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'letshare-operator-'));
  const apps = join(folder, 'apps.yaml');
  await writeFile(apps, APPS);
  const settings = {
    LETSHARE_CONSOLE_PASSWORD: PASSWORD,
    LETSHARE_ABLY_APPS_FILE: apps,
    LETSHARE_LIMITS_CHANNELS_PER_CONNECTION: '20000',
    LETSHARE_LIMITS_PUBLISH_BURST: '100000',
  };
  [server, local, browser] = await Promise.all([
    startServer({ origins: ['http://localhost:3000'], settings }),
    startServer({ origins: ['http://localhost:3000'] }),
    launch(),
  ]);
});
after(async () => {
  clients.forEach((realtime) => realtime.close());
  await browser?.close();
  await rm(folder, { recursive: true, force: true });
  await Promise.all([server?.stop(), local?.stop()]);
});

/** A page of the console, and what went wrong on it. */
async function open(at, part, options) {
  const page = await (await browser.newContext(options)).newPage();
  const faults = [];
  page.on('pageerror', (error) => faults.push(error.message));
  // Chromium writes each refused request into its console; the page shows it.
  page.on('console', (message) => message.type() === 'error' && !/status of 4/.test(message.text()) && faults.push(message.text()));
  page.on('request', (asked) => {
    const url = new URL(asked.url());
    if (url.protocol !== 'data:' && url.origin !== at.http) faults.push(`from elsewhere: ${url}`);
  });
  await page.goto(`${at.http}/console#/${part}`);
  return {
    page,
    async close() {
      await page.context().close();
      assert.deepEqual(faults, []);
    },
  };
}

async function logIn(page) {
  await page.getByRole('link', { name: 'log in' }).first().click();
  await page.getByLabel('Password').fill('a wrong password');
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.getByText('wrong password').waitFor();
  await page.getByLabel('Password').fill(PASSWORD);
  await page.getByRole('button', { name: 'Log in' }).click();
}

/** Those that a failed test leaves behind would keep this process. */
const clients = [];
function client(options, at = server) {
  const realtime = new Realtime({ endpoint: '127.0.0.1', port: at.port, tls: false, key, ...options });
  clients.push(realtime);
  return realtime;
}
const state = (realtime, name) => new Promise((done) => realtime.connection.once(name, done));

test('the password opens the connections, and logging out closes them', LIMIT, async () => {
  const { page, close } = await open(server, 'connections');
  await logIn(page);
  await page.getByText('No connection is like that.').waitFor();
  assert.ok(page.url().endsWith('#/connections'), page.url());
  assert.equal(await page.evaluate(() => document.cookie), '', 'no script reads the session');
  await page.goto(`${server.http}/console#/login`);
  await page.getByRole('button', { name: 'Log out' }).click();
  await page.getByText('logged out').waitFor();
  await page.goto(`${server.http}/console#/connections`);
  await page.getByText('This needs the password').waitFor();
  await close();
});

test('a client is seen with its SDK, is disconnected and comes back', LIMIT, async () => {
  const anna = client({ clientId: 'anna' });
  await anna.channels.get('orders').attach();
  const { page, close } = await open(server, 'connections');
  await logIn(page);
  const row = page.locator('table.connections tbody tr', { hasText: 'anna' });
  await row.getByText(/ably-js\/2/).waitFor();
  await row.getByText('orders').waitFor();
  const id = await row.getAttribute('data-id');
  await row.getByRole('button', { name: 'Disconnect' }).click();
  const [, again] = await Promise.all([row.getByRole('button', { name: 'Disconnect: sure?' }).click(), state(anna, 'disconnected').then(() => state(anna, 'connected'))]);
  assert.equal(again.current, 'connected');
  await page.locator(`tr[data-id="${id}"]`).waitFor({ state: 'detached' });
  await page.getByLabel('Client', { exact: true }).fill('nobody');
  await page.getByRole('button', { name: 'Show' }).click();
  await page.getByText('No connection is like that.').waitFor();
  anna.close();
  await close();
});

test('a client that is blocked stays out when its token can be revoked', LIMIT, async () => {
  const issuer = new Rest({ endpoint: '127.0.0.1', port: server.port, tls: false, key: 'shared.revocable:another-secret-0123456789' });
  const token = await issuer.auth.requestToken({ clientId: 'evil' });
  const evil = client({ key: undefined, token });
  await state(evil, 'connected');
  const { page, close } = await open(server, 'connections');
  await logIn(page);
  const row = page.locator('table.connections tbody tr', { hasText: 'evil' });
  await row.getByRole('button', { name: 'Block' }).click();
  const [ended] = await Promise.all([state(evil, 'failed'), row.getByRole('button', { name: 'Block: sure?' }).click()]);
  assert.ok([40141, 40171].includes(ended.reason.code), String(ended.reason));
  await page.getByText(/evil: .* Tokens of shared\.one cannot be revoked.* any clientId/).waitFor();
  evil.close();
  await close();
});

test('the tail shows changes of messages as what they are', LIMIT, async () => {
  const { page, close } = await open(server, 'channels/mutable%3Ax');
  await logIn(page);
  await page.getByText('attached: what is published now appears here').waitFor();
  const sdk = client({ clientId: 'anna' });
  const channel = sdk.channels.get('mutable:x');
  const {
    serials: [serial],
  } = await channel.publish('draft', 'one');
  const tail = page.locator('table.tail tbody');
  await tail.getByText('one', { exact: true }).waitFor();
  await channel.updateMessage({ serial, data: 'two' });
  await tail.locator('tr.update', { hasText: `update · draft of ${serial}` }).getByText('two').waitFor();
  await channel.appendMessage({ serial, data: ' and three' });
  await tail.locator('tr.append', { hasText: '+' }).getByText('and three').waitFor();
  await channel.deleteMessage({ serial });
  await tail.locator('tr.delete', { hasText: serial }).waitFor();
  await channel.annotations.publish(serial, { type: 'reaction:distinct.v1', name: 'like' });
  await tail.locator('tr.annotation', { hasText: `annotation · reaction:distinct.v1 · like of ${serial}` }).waitFor();
  await tail.locator('tr.summary', { hasText: `summary · draft of ${serial}` }).getByText('"like"').waitFor();
  await channel.presence.enter('here');
  await tail.locator('tr.presence', { hasText: 'presence · enter' }).getByText('here').waitFor();
  sdk.close();
  await close();
});

test('foreign pages and hosts may not ask', LIMIT, async () => {
  const foreign = await browser.newPage();
  await foreign.goto(`${local.http.replace('127.0.0.1', 'foreign.localhost')}/health`);
  const asked = await foreign.evaluate((url) => fetch(`${url}/admin/api/node`).then((answer) => answer.status, () => 'refused'), local.http);
  assert.ok(asked === 'refused' || asked === 403, String(asked));
  await foreign.context().close();
  const status = (headers) =>
    new Promise((done, fail) => {
      request({ host: '127.0.0.1', port: local.port, path: '/admin/api/node', headers }, (answer) => done(answer.resume().statusCode)).on('error', fail).end();
    });
  assert.equal(await status({}), 200);
  assert.equal(await status({ host: 'evil.example' }), 403);
  assert.equal(await status({ origin: 'https://evil.example' }), 403);
  assert.equal(await status({ origin: 'http://localhost:3000' }), 403);
});

test('ten thousand channels: a page of them at a time', LIMIT, async () => {
  // However busy the machine is.
  const many = client({ clientId: 'many', transports: ['web_socket'], realtimeRequestTimeout: 60_000 });
  await state(many, 'connected');
  const names = Array.from({ length: CHANNELS }, (_, n) => `many:${String(n).padStart(5, '0')}`);
  while (names.length) await Promise.all(names.splice(0, 1_000).map((name) => many.channels.get(name).attach()));
  const { page, close } = await open(server, 'channels');
  await logIn(page);
  const rows = page.getByRole('list', { name: 'Channels' }).getByRole('listitem');
  await rows.nth(99).waitFor();
  for (const name of ['many:00100', 'many:00200']) {
    await page.getByRole('button', { name: 'Next page' }).click();
    await page.getByRole('link', { name }).waitFor();
    assert.ok((await rows.count()) <= 100);
  }
  many.close();
  await close();
});

for (const colorScheme of ['light', 'dark']) {
  test(`nobody is shut out: ${colorScheme}, on a phone too`, LIMIT, async () => {
    const anna = client({ key: await local.key(), clientId: 'anna' }, local);
    await anna.channels.get('demo').presence.enter('here');
    for (const viewport of [{ width: 1200, height: 800 }, { width: 360, height: 700 }]) {
      const { page, close } = await open(local, 'overview', { colorScheme, viewport, bypassCSP: true });
      await page.addScriptTag({ path: axe });
      for (const part of ['overview', 'connections', 'channels', 'channels/demo', 'tokens', 'try', 'login']) {
        await page.goto(`${local.http}/console#/${part}`);
        await page.locator('#part h2').waitFor();
        const { violations } = await page.evaluate(() => globalThis.axe.run());
        const serious = violations.filter(({ impact }) => ['serious', 'critical'].includes(impact));
        assert.deepEqual(serious.map(({ id, nodes }) => [part, id, nodes[0].html]), []);
        const wider = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        assert.ok(wider <= 0, `${part} is ${wider} pixels wider than a screen of ${viewport.width}`);
      }
      await close();
    }
    anna.close();
  });
}
