// Makes the pictures of docs/images from a running server: node tests/browser/screenshots.mjs

import { mkdir } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { launch } from './chromium.mjs';
import { startServer } from './server.mjs';

const images = fileURLToPath(new URL('../../docs/images/', import.meta.url));
const SCHEMES = ['light', 'dark'];
const LOAD_MS = 125_000;

const settings = { LETSHARE_CONSOLE_PASSWORD: 'a password of the pictures' };
const [server, browser] = await Promise.all([startServer({ origins: ['http://localhost:3000'], settings }), launch()]);
const { Realtime } = createRequire(new URL('../sdk/package.json', import.meta.url))('ably');
const key = await server.key();
const headers = { Authorization: `Basic ${btoa(key)}`, 'Content-Type': 'application/json' };
const publish = (channel, name, data) =>
  fetch(`${server.http}/channels/${channel}/messages`, { method: 'POST', headers, body: JSON.stringify({ name, data }) });

/** Traffic that swells and ebbs, so that there is something to see. */
let isOver = false;
const traffic = (async () => {
  for (let moment = 0; !isOver; moment += 1) {
    const many = Math.round(8 + 6 * Math.sin(moment / 25) + 3 * Math.random());
    await Promise.all(Array.from({ length: many }, (_, n) => publish(`orders:${n % 12}`, 'placed', { number: moment * 20 + n })));
    if (moment % 40 === 0) await fetch(`${server.http}/?token=wrong`);
    await new Promise((next) => setTimeout(next, 100));
  }
})();
const clients = ['anna', 'bob', 'carol', 'dave'].map((clientId) => {
  const client = new Realtime({ endpoint: '127.0.0.1', port: server.port, tls: false, key, clientId });
  ['orders:1', 'orders:2'].forEach((name) => client.channels.get(name).attach());
  return client;
});
const listeners = Array.from({ length: 5 }, () => fetch(`${server.http}/sse?channels=orders:1,orders:2&v=1.2`, { headers }));

try {
  await mkdir(images, { recursive: true });
  const visit = (page, part) => page.goto(`${server.http}/console#/${part}`);
  const shoot = (page, scheme, part, options) => page.screenshot({ path: `${images}console-${part}-${scheme}.png`, ...options });
  const pages = await Promise.all(
    SCHEMES.map(async (scheme) => {
      const page = await browser.newPage({ colorScheme: scheme, viewport: { width: 1200, height: 760 }, permissions: ['camera'] });
      await page.goto(`${server.http}/console#key=${key}`);
      await visit(page, 'login/overview');
      await page.getByLabel('Password').waitFor();
      await shoot(page, scheme, 'login');
      await page.getByLabel('Password').fill(settings.LETSHARE_CONSOLE_PASSWORD);
      await page.getByRole('button', { name: 'Log in' }).click();
      await page.locator('dl.facts').waitFor();
      return [scheme, page];
    }),
  );
  await new Promise((next) => setTimeout(next, LOAD_MS));
  for (const [scheme, page] of pages) {
    await shoot(page, scheme, 'overview', { fullPage: true });
    await visit(page, 'connections');
    await page.locator('table.connections tbody tr').nth(3).waitFor();
    await shoot(page, scheme, 'connections');
    await visit(page, 'channels/orders%3A1');
    await page.locator('table.tail tbody tr').nth(5).waitFor();
    await shoot(page, scheme, 'channels');
    await visit(page, 'tokens');
    await page.getByLabel(/^Paste a key/).fill(key);
    await page.getByRole('button', { name: 'Ask the server' }).click();
    await page.locator('table.verdicts tr').nth(4).waitFor();
    await page.getByLabel(/^Paste a key/).evaluate((field) => (field.value = field.value.replace(/:.*/, ':…')));
    await shoot(page, scheme, 'tokens');
    await visit(page, 'try');
    await page.getByText('attached').nth(1).waitFor();
    for (const [who, said] of [['Alice', 'hello, Bob'], ['Bob', 'hello, Alice']]) {
      await page.getByLabel(`What ${who} says`).fill(said);
      await page.getByLabel(`What ${who} says`).press('Enter');
      await page.getByLabel('What Alice sees').getByText(`${who}: ${said}`).waitFor();
    }
    // All of it has to be seen: a video beyond the edge does not play.
    await page.setViewportSize({ width: 1200, height: 1280 });
    await page.getByRole('button', { name: 'Call', exact: true }).click();
    await page.getByText('directly connected to').nth(1).waitFor();
    await page.getByLabel('In the call Bob says').fill('past the server');
    await page.getByLabel('In the call Bob says').press('Enter');
    await page.waitForFunction(() => [...document.querySelectorAll('video')].every(({ videoWidth }) => videoWidth > 0));
    await page.waitForTimeout(2_000);
    await shoot(page, scheme, 'try');
    await page.context().close();
  }
} finally {
  isOver = true;
  clients.forEach((client) => client.close());
  for (const listener of await Promise.all(listeners)) await listener.body.cancel();
  await traffic;
  await browser.close();
  await server.stop();
}
