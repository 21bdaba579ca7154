// Several servers on one Redis, and in front of them a proxy that hands each connection and each request to the next one (docs/cluster.md).

import { execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, request } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { freePort, startServer } from '../browser/server.mjs';

const range = (many) => Array.from({ length: many }, (_, n) => n);

async function startRedis(folder, more = []) {
  const port = await freePort();
  const args = ['--port', String(port), '--bind', '127.0.0.1', '--dir', folder, '--save', '', '--appendonly', 'no', ...more];
  const child = spawn('redis-server', args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = once(child, 'exit');
  for await (const line of child.stdout) if (String(line).includes('Ready to accept')) break;
  child.stdout.resume();
  return {
    port,
    endpoint: `127.0.0.1:${port}`,
    pid: child.pid,
    async stop() {
      child.kill('SIGTERM');
      await exited;
    },
  };
}

/** The masters of a Redis Cluster. */
async function startMasters(count, folder) {
  const start = async (n) => {
    const own = join(folder, `redis${n}`);
    await mkdir(own);
    return startRedis(own, ['--cluster-enabled', 'yes', '--cluster-port', String(await freePort())]);
  };
  const masters = await Promise.all(range(count).map(start));
  const endpoints = masters.map(({ endpoint }) => endpoint);
  await promisify(execFile)('redis-cli', ['--cluster', 'create', ...endpoints, '--cluster-yes']);
  return { endpoint: endpoints.join(), stop: () => Promise.all(masters.map((master) => master.stop())) };
}

/** LETSHARE_MASTERS=3 makes the Redis of such servers a Redis Cluster of so many. */
const MASTERS = Number(process.env.LETSHARE_MASTERS ?? 0);

/** LETSHARE_NODES=3 runs the tests against so many servers that share a Redis. */
const NODES = Number(process.env.LETSHARE_NODES ?? 1);

/** One server, or so many. */
export const startSite = (options, nodes = NODES) => (nodes > 1 ? startNodes(nodes, options) : startServer(options));

/** What one server is to a test: `http` and `port` are the proxy's. `redis`: more arguments of redis-server. */
export async function startNodes(count, { origins, settings = {}, redis: more }) {
  const folder = await mkdtemp(join(tmpdir(), 'letshare-nodes-'));
  const redis = await (MASTERS ? startMasters(MASTERS, folder) : startRedis(folder, more));
  const secret = join(folder, 'secret');
  await writeFile(secret, randomBytes(32).toString('hex'));
  // What one server makes for itself with local settings, for all.
  const [apps, local] = [join(folder, 'apps.yaml'), randomBytes(16).toString('hex')];
  await writeFile(apps, `apps: [{ id: shared, keys: [{ id: local, secret: ${local} }] }]`);
  const shared = {
    LETSHARE_CLUSTER_ENGINE: 'redis',
    LETSHARE_CLUSTER_ENDPOINT: redis.endpoint,
    LETSHARE_CLUSTER_SECRET_FILE: secret,
    LETSHARE_ABLY_APPS_FILE: apps,
    ...settings,
  };
  const servers = await Promise.all(Array.from({ length: count }, () => startServer({ origins, settings: shared })));

  // Who has joined within the last second may not be known to all.
  const knows = async ({ http }) => (await (await fetch(`${http}/metrics`)).json()).cluster.nodes === count;
  for (const server of servers) while (!(await knows(server))) await new Promise((next) => setTimeout(next, 20));

  // As deploy/nginx/cluster.conf does it: the requests of a comet conversation have to meet one server.
  let turn = 0;
  const serverOf = ({ url }) => (url.startsWith('/comet') ? servers[0] : servers[(turn += 1) % servers.length]);
  const proxy = createServer((asked, answer) => {
    const { method, url: path, headers } = asked;
    const passed = request({ host: '127.0.0.1', port: serverOf(asked).port, method, path, headers, agent: false });
    passed.on('response', (told) => {
      answer.writeHead(told.statusCode, told.rawHeaders).flushHeaders();
      told.pipe(answer);
      told.on('error', () => answer.destroy());
    });
    passed.on('error', () => answer.destroy());
    answer.on('close', () => passed.destroy());
    asked.pipe(passed);
  });
  proxy.on('upgrade', (asked, client, first) => {
    const server = connect(serverOf(asked).port, '127.0.0.1');
    const lines = range(asked.rawHeaders.length / 2).map((n) => asked.rawHeaders.slice(2 * n, 2 * n + 2).join(': '));
    server.write([`GET ${asked.url} HTTP/1.1`, ...lines, '', ''].join('\r\n'));
    server.write(first);
    for (const [from, to] of [[client, server], [server, client]]) {
      from.pipe(to);
      from.on('error', () => to.destroy());
      from.on('close', () => to.destroy());
    }
  });
  const links = new Set();
  proxy.on('connection', (link) => links.add(link.on('close', () => links.delete(link))));
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  const { port } = proxy.address();
  return {
    ...servers[0],
    http: `http://127.0.0.1:${port}`,
    ws: `ws://127.0.0.1:${port}`,
    port,
    servers,
    redis,
    key: () => `shared.local:${local}`,
    /** Cuts all connections; they come back to the next server each. */
    cut: () => links.forEach((client) => client.destroy()),
    output: () => servers.map((server) => server.output()).join('\n'),
    async stop() {
      proxy.close();
      links.forEach((link) => link.destroy());
      await Promise.all(servers.map((server) => server.stop()));
      await redis.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
