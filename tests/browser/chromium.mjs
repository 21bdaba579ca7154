// Debian's Chromium through playwright-core, and the loopback web server that its pages come from.

import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

/** A browser with a fresh profile (playwright makes and removes it). */
export function launch() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    headless: true,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--allow-loopback-in-peer-connection',
      // A camera that shows a moving picture.
      '--use-fake-device-for-media-stream',
    ],
  });
}

/** Serves `pages/`, and `more` by path, on a free loopback port; another port is another origin. */
export async function servePages(more = {}) {
  const script = 'text/javascript; charset=utf-8';
  const types = {
    '/room.html': 'text/html; charset=utf-8',
    '/room.js': script,
    '/files.js': script,
    '/bytes.js': script,
  };
  const server = createServer(async (request, response) => {
    const path = request.url.split('?')[0];
    if (path in more) return response.writeHead(200, { 'content-type': types['/room.html'] }).end(more[path]);
    if (!(path in types)) return response.writeHead(404).end();
    const body = await readFile(fileURLToPath(new URL(`pages${path}`, import.meta.url)));
    response.writeHead(200, { 'content-type': types[path], 'cache-control': 'no-store' }).end(body);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const origin = `http://127.0.0.1:${server.address().port}`;
  return {
    origin,
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}

/**
 * A page of `origin` in a browsing context of its own. What the page throws or logs as an error
 * is kept in `complaints`, so that a failed test can show it.
 */
export async function openPage(browser, origin) {
  // A page that may use a camera gets ICE candidates for every interface, loopback too, and with
  // addresses in place of mDNS names, which nobody may answer on a machine without a network.
  const context = await browser.newContext({ permissions: ['camera', 'microphone'] });
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  const complaints = [];
  page.on('pageerror', (error) => complaints.push(String(error)));
  await page.goto(`${origin}/room.html`);
  return { page, complaints, close: () => context.close() };
}
