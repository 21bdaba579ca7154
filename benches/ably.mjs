// What Ably's further features cost, as CPU of the server beside that of the plain thing, in one run:
//
//   cargo build --release && LETSHARE_BIN=target/release/letshare-server node benches/ably.mjs
//
// Raw sockets that count and parse next to nothing; the server's CPU is user and system time of /proc/PID/stat, whose ticks
// are 10 ms. tests/run install brings the package that it needs.

import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { Agent, request } from 'node:http';
import { createRequire } from 'node:module';
import { startApp } from '../tests/sdk/app.mjs';

const { WebSocket } = createRequire(new URL('../tests/sdk/package.json', import.meta.url))('ws');
const [MESSAGE, OBJECT, ATTACH, ATTACHED, ACK] = [15, 19, 10, 11, 1];
const IN_FLIGHT = 50;

const unlimited = { LETSHARE_LIMITS_PUBLISHES_PER_SECOND: '0', LETSHARE_LIMITS_PUBLISH_BURST: '1000000', LETSHARE_SERVER_WORKERS: '1' };
const app = await startApp({ settings: unlimited });
const query = new URLSearchParams({ key: app.key, v: '5', heartbeats: 'false' });

async function cpu() {
  const stat = await readFile(`/proc/${app.server.pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * 10_000;
}

/** Counts the MESSAGE frames, and their bytes, that come for a channel. */
class Reader {
  count = 0;
  bytes = 0;

  take(text) {
    // Only what is no message is looked at.
    if (text.includes('"messages"')) {
      this.count += 1;
      this.bytes += text.length;
    } else if (text.includes(`"action":${ATTACHED},`)) this.attached?.();
    else if (/"action":20,.*"channelSerial":"\d+:"/.test(text)) this.isSynced = true;
  }

  static async overWebSocket(channel, params) {
    const [reader, socket] = [new Reader(), new WebSocket(`${app.server.ws}/?${query}`)];
    socket.on('message', (data) => reader.take(String(data)));
    await once(socket, 'open');
    socket.send(JSON.stringify({ action: ATTACH, channel, params }));
    await new Promise((done) => (reader.attached = done));
    reader.close = () => socket.terminate();
    return reader;
  }

  static async overComet(channel) {
    const reader = new Reader();
    const agent = new Agent();
    const get = (path) =>
      new Promise((done, fail) => request(`${app.server.http}${path}`, { agent }, done).on('error', fail).end());
    const stream = await get(`/comet/connect?${query}&stream=true`);
    let [rest, key] = ['', undefined];
    stream.setEncoding('latin1').on('data', (chunk) => {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop();
      for (const line of lines) {
        key ??= /"connectionKey":"([^"]+)"/.exec(line)?.[1];
        // A line has several frames.
        const messages = line.split('"messages"').length - 1;
        if (messages) [reader.count, reader.bytes] = [reader.count + messages, reader.bytes + line.length];
        if (line.includes(`"action":${ATTACHED},`)) reader.attached?.();
      }
    });
    while (!key) await new Promise((next) => setTimeout(next, 5));
    const attached = new Promise((done) => (reader.attached = done));
    const body = JSON.stringify([{ action: ATTACH, channel }]);
    await fetch(`${app.server.http}/comet/${key}/send?key=${app.key}`, { method: 'POST', body });
    await attached;
    reader.close = () => agent.destroy();
    return reader;
  }
}

/** Sends frames, so many of them unanswered. */
class Publisher {
  #serial = 0;
  #answered = 0;
  #waiting = [];

  static async open() {
    const publisher = new Publisher();
    publisher.socket = new WebSocket(`${app.server.ws}/?${query}`);
    publisher.socket.on('message', (data) => {
      const frame = JSON.parse(data);
      if (frame.action !== ACK) return;
      publisher.#answered = frame.msgSerial + frame.count;
      publisher.last = frame.res?.at(-1)?.serials?.[0];
      publisher.#waiting.splice(0).forEach((wake) => wake());
    });
    await once(publisher.socket, 'open');
    return publisher;
  }

  async send(channel, message) {
    while (this.#serial - this.#answered >= IN_FLIGHT) await new Promise((wake) => this.#waiting.push(wake));
    this.socket.send(JSON.stringify({ action: MESSAGE, msgSerial: this.#serial, channel, messages: [message] }));
    this.#serial += 1;
  }

  async sendObject(channel, item) {
    while (this.#serial - this.#answered >= IN_FLIGHT) await new Promise((wake) => this.#waiting.push(wake));
    this.socket.send(JSON.stringify({ action: OBJECT, msgSerial: this.#serial, channel, state: [item] }));
    this.#serial += 1;
  }

  async settle() {
    while (this.#answered < this.#serial) await new Promise((wake) => this.#waiting.push(wake));
  }
}

const publisher = await Publisher.open();

/** µs of CPU for each of so many messages, until all readers have what they should get. */
async function cost(channel, readers, count, make, expected = count) {
  const [from, before] = [readers.map((reader) => reader.count), await cpu()];
  for (let n = 0; n < count; n += 1) await publisher.send(channel, make(n));
  await publisher.settle();
  for (const [index, reader] of readers.entries()) {
    while (reader.count < from[index] + expected) await new Promise((next) => setTimeout(next, 5));
  }
  return ((await cpu()) - before) / count;
}

const many = (count, make) => Promise.all(Array.from({ length: count }, make));
const show = (what, ...figures) => console.log(`${what}: ${figures.join(', ')}`);
const us = (value) => `${value.toFixed(1)} µs`;
const close = (readers) => readers.forEach((reader) => reader.close());

{
  const readers = await many(100, () => Reader.overWebSocket('mutable:appends'));
  const data = 'x'.repeat(20);
  await cost('mutable:appends', readers, 500, () => ({ data }));
  const plain = await cost('mutable:appends', readers, 4_000, () => ({ data }));
  await cost('mutable:appends', readers, 1, () => ({ data }));
  const serial = publisher.last;
  const quarters = [];
  for (let n = 0; n < 4; n += 1) {
    quarters.push(await cost('mutable:appends', readers, 1_000, () => ({ action: 5, serial, data })));
  }
  const mean = quarters.reduce((sum, quarter) => sum + quarter) / 4;
  show('4,000 appends of 20 bytes to one message, 100 readers', `by thousand ${quarters.map(us).join(' / ')}`, `a publish ${us(plain)}`, `ratio ${(mean / plain).toFixed(2)}`);
  close(readers);
}
{
  const sockets = await many(50, () => Reader.overWebSocket('by-socket'));
  const streams = await many(50, () => Reader.overComet('by-stream'));
  const make = (n) => ({ data: `message ${n}`.padEnd(128) });
  const costs = { socket: [], stream: [] };
  for (let n = 0; n < 3; n += 1) {
    costs.socket.push(await cost('by-socket', sockets, 1_000, make));
    costs.stream.push(await cost('by-stream', streams, 1_000, make));
  }
  const median = (list) => list.sort((a, b) => a - b)[1];
  const [socket, stream] = [median(costs.socket), median(costs.stream)];
  show('a message to 50 readers', `WebSocket ${us(socket)}`, `comet stream ${us(stream)}`, `ratio ${(stream / socket).toFixed(2)}`);
  close([...sockets, ...streams]);
}
{
  const plain = await many(50, () => Reader.overWebSocket('plain'));
  const delta = await many(50, () => Reader.overWebSocket('delta', { delta: 'vcdiff' }));
  const base = Object.fromEntries(Array.from({ length: 80 }, (_, n) => [`field${n}`, `value ${n} of it`]));
  const make = (n) => ({ data: JSON.stringify({ ...base, [`field${n % 80}`]: `changed ${n}` }), encoding: 'json' });
  const [whole, differences] = [await cost('plain', plain, 2_000, make), await cost('delta', delta, 2_000, make)];
  const saved = 1 - delta[0].bytes / plain[0].bytes;
  show(`2 KB of JSON (${make(0).data.length} bytes) with a small change, 50 readers`, `whole ${us(whole)}`, `delta ${us(differences)}`, `ratio ${(differences / whole).toFixed(2)}`, `${(saved * 100).toFixed(0)} % fewer bytes`);
  close([...plain, ...delta]);
}
{
  const expression = btoa('name == `"wanted"`');
  const plain = await many(1_000, () => Reader.overWebSocket('all'));
  const filtered = await many(1_000, () => Reader.overWebSocket(`[filter=${expression}]some`));
  const make = () => ({ name: 'wanted', data: 'x'.repeat(100) });
  const other = () => ({ name: 'other', data: 'x'.repeat(100) });
  const [whole, some] = [await cost('all', plain, 300, make), await cost('some', filtered, 300, make)];
  const none = await cost('some', filtered, 2_000, other, 0);
  show('1,000 subscribers', `without a filter ${us(whole)}`, `with one that takes it ${us(some)}`, `ratio ${(some / whole).toFixed(2)}`, `with one that does not ${us(none)}`);
  close([...plain, ...filtered]);
}
{
  const modes = 'object_subscribe,object_publish';
  const id = 'counter:bench@1';
  const increment = { operation: { action: 4, objectId: id, counterInc: { number: 1 } } };
  const set = (n) => ({ operation: { action: 1, objectId: 'root', mapSet: { key: `key ${n}`, value: { string: 'x'.repeat(20) } } } });
  const kept = async () => Number(/letshare_kept_bytes\{kind="objects"\} (\d+)/.exec(await (await fetch(`${app.server.http}/metrics`, { headers: { accept: 'text/plain' } })).text())?.[1] ?? 0);
  for (const channel of ['counted', 'persisted:counted']) {
    const figures = [];
    for (const subscribers of [0, 1, 100]) {
      const readers = await many(subscribers, () => Reader.overWebSocket(channel, { modes }));
      const [from, before] = [Date.now(), await cpu()];
      for (let n = 0; n < 4_000; n += 1) await publisher.sendObject(channel, increment);
      await publisher.settle();
      const seconds = (Date.now() - from) / 1_000;
      figures.push(`${subscribers} subscribers ${us(((await cpu()) - before) / 4_000)} and ${Math.round(4_000 / seconds)} a second`);
      close(readers);
    }
    show(`4,000 increments of one counter of ${channel}`, ...figures);
  }
  const before = await kept();
  for (let n = 0; n < 10_000; n += 1) await publisher.sendObject('map', set(n));
  await publisher.settle();
  const memory = ((await kept()) - before) / 10_000;
  const attach = async () => {
    const reader = await Reader.overWebSocket('map', { modes });
    while (!reader.isSynced) await new Promise((next) => setTimeout(next, 1));
    reader.close();
  };
  await attach();
  const from = await cpu();
  for (let n = 0; n < 100; n += 1) await attach();
  const attached = ((await cpu()) - from) / 100;
  show('a map of 10,000 entries of 20 bytes', `${Math.round(memory)} bytes charged for each`, `an attach with all of them ${us(attached)}`);
}
publisher.socket.terminate();
await app.stop();
