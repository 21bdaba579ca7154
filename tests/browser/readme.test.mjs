// The README's eight lines to the first message, as they stand there.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { launch } from './chromium.mjs';
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
