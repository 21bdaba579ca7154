// What a Redis and several servers cost beside one server alone (docs/design/cluster.md §10), in one run:
//
//   cargo build --release && LETSHARE_BIN=target/release/letshare-server node benches/cluster.mjs [--base PATH] [--rounds N] [--rate N]
//
// `--base` is another build that is measured beside, without Redis. CPU is that of all threads of a process
// (/proc/PID/task/*/schedstat), each leg in fresh processes, legs in turns, the least of all rounds. Each server has one worker.

import { once } from 'node:events';
import { readFile, readdir } from 'node:fs/promises';
import { connect } from 'node:net';
import { createRequire } from 'node:module';
import { parseArgs } from 'node:util';
import { startServer } from '../tests/browser/server.mjs';
import { startNodes } from '../tests/sdk/nodes.mjs';

const { WebSocket } = createRequire(new URL('../tests/sdk/package.json', import.meta.url))('ws');
const [ACK, NACK, CONNECTED, ATTACH, ATTACHED, MESSAGE] = [1, 2, 4, 10, 11, 15];
const option = (value) => ({ type: 'string', default: value });
const { values } = parseArgs({ options: { base: option(''), rounds: option('3'), rate: option('5000'), publishes: option('5000') } });
const [ROUNDS, RATE, PUBLISHES] = [values.rounds, values.rate, values.publishes].map(Number);
const [IN_FLIGHT, SUBSCRIBERS, CHANNELS, SECONDS] = [64, 50, 5_000, 3];
const DATA = 'x'.repeat(200);
// Attached, and hears no messages.
const PRESENCE = 1 << 16;

const settings = { LETSHARE_LIMITS_PUBLISHES_PER_SECOND: '0', LETSHARE_LIMITS_PUBLISH_BURST: '1000000', LETSHARE_SERVER_WORKERS: '1' };
const options = { origins: ['http://localhost:3000'], settings };
const always = { ...options, redis: ['--appendonly', 'yes', '--appendfsync', 'always'] };
const alone = async (program) => {
  const server = await startServer({ ...options, program });
  return { servers: [server], key: await server.key(), stop: () => server.stop() };
};
const nodes = async (count, options) => {
  const site = await startNodes(count, options);
  return { servers: site.servers, redis: site.redis, key: site.key(), stop: () => site.stop() };
};
const LEGS = {
  ...(values.base && { 'one server, the base': () => alone(values.base) }),
  'one server': () => alone(),
  'one node, Redis': () => nodes(1, options),
  'three nodes, Redis': () => nodes(3, options),
  'three nodes, appendfsync always': () => nodes(3, always),
};

/** µs of CPU since the process began. */
async function cpu({ pid }) {
  const tasks = await readdir(`/proc/${pid}/task`);
  const times = tasks.map((task) => readFile(`/proc/${pid}/task/${task}/schedstat`, 'utf8').catch(() => '0'));
  return (await Promise.all(times)).reduce((sum, line) => sum + Number(line.split(' ')[0]), 0) / 1_000;
}

/** A socket that is connected; `on[action]` hears the frames of that action. */
async function open({ ws }, key) {
  const socket = new WebSocket(`${ws}/?${new URLSearchParams({ key, v: '6', heartbeats: 'false', echo: 'false' })}`);
  const on = {};
  socket.on('message', (data) => {
    // What is only counted is not parsed.
    const action = Number(/"action":(\d+)/.exec(data.subarray(0, 40))?.[1]);
    on[action]?.(data);
  });
  const connected = new Promise((done) => (on[CONNECTED] = done));
  await once(socket, 'open');
  await connected;
  const close = () => socket.terminate();
  return { send: (frame) => socket.send(JSON.stringify(frame)), on, close };
}

async function attached(server, key, channel, more = {}) {
  const client = await open(server, key);
  const answer = new Promise((done) => (client.on[ATTACHED] = done));
  client.send({ action: ATTACH, channel, ...more });
  await answer;
  return client;
}

/** Publishes so many, IN_FLIGHT of them unanswered; `channel` gives that of each. */
async function publish(client, count, channel) {
  let [sent, answered] = [0, client.serial ?? 0];
  const first = answered;
  await new Promise((done, fail) => {
    const more = () => {
      while (sent < count && first + sent - answered < IN_FLIGHT) {
        client.send({ action: MESSAGE, msgSerial: first + sent, channel: channel(sent), messages: [{ data: DATA }] });
        sent += 1;
      }
      if (answered === first + count) done();
    };
    client.on[NACK] = (data) => fail(new Error(`refused: ${data}`));
    client.on[ACK] = (data) => {
      const { msgSerial, count } = JSON.parse(data);
      answered = msgSerial + count;
      more();
    };
    more();
  });
  client.serial = answered;
}

/** Publishes RATE a second; milliseconds until the ACK of each, and until it was heard at the last server. */
async function paced(client, reader) {
  const [acks, heard, sent] = [[], [], []];
  const first = client.serial;
  client.on[ACK] = (data) => {
    const { msgSerial, count } = JSON.parse(data);
    for (let n = msgSerial; n < msgSerial + count; n += 1) acks.push(performance.now() - sent[n - first]);
  };
  reader.on[MESSAGE] = (data) => heard.push(performance.now() - sent[Number(/"data":"(\d+) /.exec(data)[1])]);
  const [start, many] = [performance.now(), RATE * SECONDS];
  while (sent.length < many) {
    const due = Math.min(many, ((performance.now() - start) * RATE) / 1_000);
    while (sent.length < due) {
      const messages = [{ data: `${sent.length} ${DATA}` }];
      client.send({ action: MESSAGE, msgSerial: first + sent.length, channel: 'paced', messages });
      sent.push(performance.now());
    }
    await new Promise((next) => setTimeout(next, 1));
  }
  const rate = many / ((performance.now() - start) / 1_000);
  while (acks.length < many || heard.length < many) await new Promise((next) => setTimeout(next, 5));
  client.serial = first + many;
  return { rate, acks, heard };
}

const at = (list, part) => list.sort((a, b) => a - b)[Math.floor(list.length * part)];

/** used_memory of a Redis. */
async function memory({ port }) {
  const socket = connect(port, '127.0.0.1').setEncoding('latin1');
  socket.write('INFO memory\r\nQUIT\r\n');
  let answer = '';
  for await (const chunk of socket) answer += chunk;
  return Number(/used_memory:(\d+)/.exec(answer)[1]);
}

/** The figures of one leg. */
async function measure(start) {
  const site = await start();
  const { servers, key, redis } = site;
  const [here, ...others] = servers;
  try {
    const client = await open(here, key);
    const processes = { here, ...(redis && { redis }), ...(others.length && { other: others[0] }) };
    const costs = async (channel) => {
      await publish(client, PUBLISHES / 5, () => channel);
      const before = await Promise.all(Object.values(processes).map(cpu));
      await publish(client, PUBLISHES, () => channel);
      const after = await Promise.all(Object.values(processes).map(cpu));
      return Object.fromEntries(Object.keys(processes).map((name, n) => [name, (after[n] - before[n]) / PUBLISHES]));
    };
    const figures = {};
    // The channel is open everywhere, and nobody hears.
    const silent = await Promise.all(servers.map((server) => attached(server, key, 'silent', { flags: PRESENCE })));
    for (const [name, cost] of Object.entries(await costs('silent'))) figures[name] = cost;
    const readers = await Promise.all(Array.from({ length: SUBSCRIBERS }, () => attached(here, key, 'heard')));
    figures.delivery = ((await costs('heard')).here - figures.here) / SUBSCRIBERS;
    const reader = await attached(servers.at(-1), key, 'paced');
    const { rate, acks, heard } = await paced(client, reader);
    Object.assign(figures, { rate, ack50: at(acks, 0.5), ack99: at(acks, 0.99), heard50: at(heard, 0.5), heard99: at(heard, 0.99) });
    if (redis) {
      const before = await memory(redis);
      await publish(client, CHANNELS, (n) => `channel-${n}`);
      figures.channel = ((await memory(redis)) - before) / CHANNELS;
    }
    for (const each of [client, reader, ...silent, ...readers]) each.close();
    return figures;
  } finally {
    await site.stop();
  }
}

const best = {};
for (let round = 0; round < ROUNDS; round += 1) {
  for (const [leg, start] of Object.entries(LEGS)) {
    const found = await measure(start);
    const known = (best[leg] ??= {});
    for (const [name, figure] of Object.entries(found)) {
      known[name] = name === 'rate' ? Math.max(known[name] ?? 0, figure) : Math.min(known[name] ?? Infinity, figure);
    }
  }
}
const COLUMNS = [
  ['publish, its node, µs', 'here'], ['another node, µs', 'other'], ['Redis, µs', 'redis'], ['delivery, µs', 'delivery', 2],
  ['a second', 'rate', 0], ['to ACK, ms, p50', 'ack50', 2], ['p99', 'ack99'], ['to a subscriber, ms, p50', 'heard50', 2], ['p99', 'heard99'],
  ['Redis, bytes per channel', 'channel', 0],
];
const row = (cells) => console.log(`| ${cells.join(' | ')} |`);
row(['', ...COLUMNS.map(([title]) => title)]);
row(['---', ...COLUMNS.map(() => '---:')]);
for (const [leg, figures] of Object.entries(best)) {
  row([leg, ...COLUMNS.map(([, name, digits = 1]) => (figures[name] === undefined ? '' : figures[name].toFixed(digits)))]);
}
