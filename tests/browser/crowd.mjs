// What the console costs a server with 100,000 channels and 10,000 connections: processor time for each part while it is looked at, and
// how large its page is.
//
//   LETSHARE_BIN=target/release/letshare-server node tests/browser/crowd.mjs

import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { connect } from 'node:net';
import { launch } from './chromium.mjs';
import { startServer, staticToken } from './server.mjs';

const CHANNELS = 100_000;
const CONNECTIONS = 10_000;
const PER_CLIENT = 10_000;
const AT_ONCE = 1_000;
const LOOK_MS = 30_000;
const TICKS_PER_SECOND = 100;

const settings = {
  LETSHARE_LOG_LEVEL: 'warn',
  LETSHARE_LIMITS_CHANNELS: '200000',
  LETSHARE_LIMITS_CHANNELS_PER_CONNECTION: '20000',
  LETSHARE_LIMITS_CONNECTIONS_PER_ADDRESS: '20000',
  LETSHARE_LIMITS_PUBLISHES_PER_SECOND: '0',
};
const { Realtime } = createRequire(new URL('../sdk/package.json', import.meta.url))('ably');
const [server, browser] = await Promise.all([startServer({ origins: ['http://localhost:3000'], settings }), launch()]);
const clients = [];
const sockets = [];

/** A WebSocket of LetShare that says nothing but that it lives. */
async function stranger(number) {
  const socket = connect(server.port, '127.0.0.1');
  sockets.push(socket);
  socket.on('error', () => {});
  await once(socket, 'connect');
  const lines = [`GET /ws?token=${staticToken}&userId=u${number}:1 HTTP/1.1`, 'Host: 127.0.0.1', 'Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='];
  socket.write(`${lines.join('\r\n')}\r\n\r\n`);
  await once(socket, 'data');
  // Masked, without a payload.
  socket.on('data', () => socket.write(Buffer.from([0x8a, 0x80, 0, 0, 0, 0])));
}

async function processorSeconds() {
  const fields = (await readFile(`/proc/${server.pid}/stat`, 'utf8')).split(') ')[1].split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

/** Processors in use by the server for a while. */
async function load() {
  const [before, began] = [await processorSeconds(), performance.now()];
  await new Promise((next) => setTimeout(next, LOOK_MS));
  return ((await processorSeconds()) - before) / ((performance.now() - began) / 1_000);
}

try {
  const key = await server.key();
  for (let first = 0; first < CHANNELS; first += PER_CLIENT) {
    const client = new Realtime({ endpoint: '127.0.0.1', port: server.port, tls: false, key, transports: ['web_socket'], realtimeRequestTimeout: 120_000 });
    clients.push(client);
    const names = Array.from({ length: PER_CLIENT }, (_, n) => `room:${String(first + n).padStart(6, '0')}`);
    while (names.length) await Promise.all(names.splice(0, AT_ONCE).map((name) => client.channels.get(name).attach()));
  }
  for (let number = 0; number < CONNECTIONS; number += AT_ONCE) {
    await Promise.all(Array.from({ length: AT_ONCE }, (_, n) => stranger(number + n)));
  }
  const percent = (processors) => `${(processors * 100).toFixed(2)} %`;
  await new Promise((next) => setTimeout(next, 10_000));
  const idle = await load();
  const { websocket } = await (await fetch(`${server.http}/metrics`)).json();
  console.log(`${websocket.total_rooms} channels, ${websocket.active_connections} connections; nobody looks: ${percent(idle)} of a processor`);
  for (const [part, ready] of [
    ['overview', 'figure strong'],
    ['connections', 'table.connections tbody tr:nth-child(100)'],
    ['channels', 'ul.list li:nth-child(100)'],
    ['channels/room%3A000001', 'table.tail'],
  ]) {
    const page = await browser.newPage();
    const began = performance.now();
    await page.goto(`${server.http}/console#/${part}`);
    await page.locator(ready).first().waitFor();
    const shown = Math.round(performance.now() - began);
    const processors = await load();
    const elements = await page.evaluate(() => document.querySelectorAll('*').length);
    console.log(`${part}: shown after ${shown} ms, ${elements} elements, ${percent(processors - idle)} of a processor`);
    await page.context().close();
  }
} catch (error) {
  console.error(error);
  process.exitCode = 1;
} finally {
  sockets.forEach((socket) => socket.destroy());
  clients.forEach((client) => client.close());
  await browser.close();
  await server.stop();
}
