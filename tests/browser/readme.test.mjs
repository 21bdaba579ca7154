// The README's eight lines to the first message, as they stand there.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { launch, openPage, servePages } from './chromium.mjs';
import { startServer } from './server.mjs';

let browser, server;
before(async () => {
  // No page of another origin is allowed: the server's own page needs no permission.
  [server, browser] = await Promise.all([startServer({ origins: ['http://localhost:3000'] }), launch()]);
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

test('the first message of the README arrives, pasted into the console of /health', async () => {
  const readme = await readFile(new URL('../../README.md', import.meta.url), 'utf8');
  const snippet = readme.match(/```js\n(const token.*?)```/s)[1];
  assert.equal(snippet.trim().split('\n').length, 8);
  const lines = snippet
    .replace('PASTE-YOUR-TOKEN-HERE', await server.mint('--user', 'me'))
    .replace('ws://127.0.0.1:8080', server.ws);
  assert.ok(lines.includes(server.ws) && !lines.includes('PASTE'));

  const page = await browser.newPage();
  await page.goto(`${server.http}/health`);
  const arrived = page.waitForEvent('console', {
    predicate: (message) => /^bob .*"hello"/.test(message.text()),
    timeout: 10_000,
  });
  await page.evaluate(`(async () => { ${lines} })()`);
  await arrived;
});

test('two windows with the page of docs/webrtc.md talk to each other directly', async (t) => {
  const text = await readFile(new URL('../../docs/webrtc.md', import.meta.url), 'utf8');
  const [, html] = text.match(/```html\n(.*?)```/s);
  assert.ok(html.trim().split('\n').length <= 66, `${html.trim().split('\n').length} lines`);
  const files = {};
  const site = await servePages(files);
  t.after(() => site.close());
  const talk = await startServer({ origins: [site.origin] });
  t.after(() => talk.stop());
  files['/chat.html'] = html
    .replace('PASTE-YOUR-TOKEN-HERE', await talk.mint('--user', 'me'))
    .replace('ws://127.0.0.1:8080', talk.ws);
  assert.ok(files['/chat.html'].includes(talk.ws) && !files['/chat.html'].includes('PASTE'));

  const [anna, bob] = [await openPage(browser, site.origin), await openPage(browser, site.origin)];
  for (const { page } of [anna, bob]) {
    await page.goto(`${site.origin}/chat.html`);
  }
  for (const { page } of [anna, bob]) await page.getByText('is here').waitFor();
  await anna.page.locator('#text').fill('good morning');
  await anna.page.locator('#text').press('Enter');
  await bob.page.getByText(/^me:\w+: good morning$/).waitFor();
  await bob.page.locator('#text').fill('to you too');
  await bob.page.locator('#text').press('Enter');
  await anna.page.getByText(/^me:\w+: to you too$/).waitFor();
  await bob.page.goto('about:blank');
  await anna.page.getByText('has left').waitFor();
  assert.deepEqual([...anna.complaints, ...bob.complaints], []);
});
