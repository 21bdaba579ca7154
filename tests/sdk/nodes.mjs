// Several servers on one Redis, and in front of them a proxy that hands each connection to the next one (docs/cluster.md).

import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort, startServer } from '../browser/server.mjs';

async function startRedis(folder) {
  const port = await freePort();
  const args = ['--port', String(port), '--bind', '127.0.0.1', '--dir', folder, '--save', '', '--appendonly', 'no'];
  const child = spawn('redis-server', args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = once(child, 'exit');
  for await (const line of child.stdout) if (String(line).includes('Ready to accept')) break;
  child.stdout.resume();
  return {
    port,
    async stop() {
      child.kill('SIGTERM');
      await exited;
    },
  };
}

/** What one server is to a test: `http` and `port` are the proxy's. */
export async function startNodes(count, { origins, settings = {} }) {
  const folder = await mkdtemp(join(tmpdir(), 'letshare-nodes-'));
  const redis = await startRedis(folder);
  const secret = join(folder, 'secret');
  await writeFile(secret, randomBytes(32).toString('hex'));
  const shared = {
    LETSHARE_CLUSTER_ENGINE: 'redis',
    LETSHARE_CLUSTER_ENDPOINT: `127.0.0.1:${redis.port}`,
    LETSHARE_CLUSTER_SECRET_FILE: secret,
    ...settings,
  };
  const servers = await Promise.all(Array.from({ length: count }, () => startServer({ origins, settings: shared })));

  let turn = 0;
  const links = new Set();
  const proxy = createServer((client) => {
    links.add(client.on('close', () => links.delete(client)));
    const server = connect(servers[(turn += 1) % servers.length].port, '127.0.0.1');
    for (const [from, to] of [[client, server], [server, client]]) {
      from.pipe(to);
      from.on('error', () => to.destroy());
      from.on('close', () => to.destroy());
    }
  });
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  const { port } = proxy.address();
  return {
    http: `http://127.0.0.1:${port}`,
    ws: `ws://127.0.0.1:${port}`,
    port,
    servers,
    redis,
    /** Cuts all connections; they come back to the next server each. */
    cut: () => links.forEach((client) => client.destroy()),
    output: () => servers.map((server) => server.output()).join('\n'),
    async stop() {
      proxy.close();
      await Promise.all(servers.map((server) => server.stop()));
      await redis.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
