// Pages with the browser bundles of the SDK, from a web server of their own: another origin than the server's.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

/** `/2` and `/1.2`: a page with that version, by the bundle of the package that Node uses in the other tests. */
export async function servePages() {
  const script = 'text/javascript; charset=utf-8';
  const here = (path) => fileURLToPath(new URL(`pages/${path}`, import.meta.url));
  const bundle = (name) => createRequire(import.meta.url).resolve(name).replace(/ably-node\.js$/, 'ably.min.js');
  const objects = bundle('ably/liveobjects').replace(/liveobjects\.js$/, 'liveobjects.umd.min.js');
  const page = ['text/html; charset=utf-8', here('index.html')];
  const files = {
    '/2/': page,
    '/1.2/': page,
    '/client.js': [script, here('client.js')],
    '/2/ably.js': [script, bundle('ably')],
    '/1.2/ably.js': [script, bundle('ably-1.2')],
    '/objects.js': [script, objects],
  };
  const server = createServer(async ({ url }, response) => {
    if (!(url in files)) return response.writeHead(404).end();
    const [type, path] = files[url];
    response.writeHead(200, { 'content-type': type }).end(await readFile(path));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { origin: `http://127.0.0.1:${server.address().port}`, close: () => server.close() };
}

/** A page with a client of this version on `channel`; `call` calls its methods. */
export async function openClient(browser, pages, version, options, channel) {
  const context = await browser.newContext();
  const page = await context.newPage();
  const complaints = [];
  page.on('pageerror', (error) => complaints.push(String(error)));
  await page.goto(`${pages.origin}/${version}/`);
  const call = (method, ...args) => page.evaluate(([method, args]) => client[method](...args), [method, args]);
  await page.evaluate(() => (globalThis.client = new Client()) && null);
  await call('connect', options, channel);
  const close = async () => {
    await call('close');
    assert.deepEqual(complaints, []);
    await context.close();
  };
  return { call, close };
}
