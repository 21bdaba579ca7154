// Three servers on one Redis behind nginx, as docker-compose.cluster.yml and deploy/nginx/cluster.conf set them up.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { freePort } from '../browser/server.mjs';
import { startNodes } from '../sdk/nodes.mjs';
import { adapt, eventually, folder, run } from './programs.mjs';

const root = resolve(fileURLToPath(import.meta.url), '../../..');
const sdk = new URL('../sdk/', import.meta.url);
const APPS = 'apps:\n  - id: abc123\n    keys:\n      - id: first1\n        secret: open-sesame-open-sesame\n';
const KEY = 'abc123.first1:open-sesame-open-sesame';

test('docker-compose.cluster.yml is valid, and so are the settings of its servers', async () => {
  const files = await folder();
  try {
    await writeFile(files.file('secret'), '0123456789abcdef'.repeat(4));
    await writeFile(files.file('apps.yaml'), APPS);
    const secrets = { LETSHARE_JWT_SECRET: 'j'.repeat(40), SERVER_AUTH_SECRET: 's'.repeat(40) };
    const env = { PATH: process.env.PATH, HOME: files.path, ...secrets };
    const args = ['-f', 'docker-compose.cluster.yml', 'config'];
    const { stdout } = await promisify(execFile)('docker-compose', args, { cwd: root, env });
    const servers = [...stdout.matchAll(/^ {2}(server-\d):\n((?: {4}.*\n)+)/gm)];
    assert.deepEqual(servers.map(([, name]) => name), ['server-1', 'server-2', 'server-3']);
    for (const [, name, text] of servers) {
      const set = [...text.matchAll(/^ {6}(LETSHARE_\w+|SERVER_AUTH_SECRET|MODE): (.+)$/gm)];
      // What is handed on only when it is set is null here.
      const settings = Object.fromEntries(set.filter(([, , value]) => value !== 'null').map(([, key, value]) => [key, value.replace(/^['"]|['"]$/g, '')]));
      assert.equal(settings.LETSHARE_CLUSTER_ENGINE, 'redis', name);
      const binary = process.env.LETSHARE_BIN ?? resolve(root, process.env.CARGO_TARGET_DIR ?? 'target', 'debug/letshare-server');
      await promisify(execFile)(binary, ['config', 'check'], {
        cwd: files.path,
        env: {
          PATH: process.env.PATH,
          ...settings,
          LETSHARE_CLUSTER_SECRET_FILE: files.file('secret'),
          LETSHARE_ABLY_APPS_FILE: files.file('apps.yaml'),
          LETSHARE_DATA_DIR: files.file('data'),
          LETSHARE_LOG_DIR: files.file('logs'),
        },
      });
    }
  } finally {
    await files.remove();
  }
});

test('behind nginx clients find each other, by WebSocket and by comet, and a server may go', async () => {
  const files = await folder();
  await writeFile(files.file('apps.yaml'), APPS);
  const settings = {
    LETSHARE_ABLY_APPS_FILE: files.file('apps.yaml'),
    LETSHARE_ABLY_KEYS_OVER_HTTP: 'true',
    LETSHARE_SERVER_TRUSTED_PROXIES: '127.0.0.1',
  };
  const nodes = await startNodes(3, { origins: ['http://localhost:3000'], settings });
  const port = await freePort();
  await adapt('nginx/cluster.conf', files.file('cluster.conf'), [
    ['listen 80', `listen 127.0.0.1:${port}`],
    ...nodes.servers.map((server, n) => [`server-${n + 1}:8080`, `127.0.0.1:${server.port}`]),
  ]);
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  const folders = temporary.map((name) => `${name}_temp_path ${files.file(name)};`).join('\n');
  const main = `daemon off;\npid ${files.file('nginx.pid')};\nerror_log stderr;\nevents {}\nhttp {\naccess_log off;\n${folders}\ninclude ${files.file('cluster.conf')};\n}\n`;
  await writeFile(files.file('nginx.conf'), main);
  const proxy = run('nginx', ['-c', files.file('nginx.conf')]);
  try {
    await eventually('nginx answers', async () => (await fetch(`http://127.0.0.1:${port}/health`)).status === 200);
    const options = { key: KEY, endpoint: '127.0.0.1', port, tls: false };
    const exchange = async () => {
      const program = `
        import * as Ably from 'ably';
        const options = ${JSON.stringify(options)};
        const clients = ['web_socket', 'web_socket', 'comet'].map((transport) => new Ably.Realtime({ ...options, transports: [transport] }));
        const heard = new Set();
        await Promise.all(clients.map((client, n) => client.channels.get('behind').subscribe(({ data }) => {
          heard.add(n + ' hears ' + data);
          if (heard.size < 9) return;
          console.log(heard.size);
          clients.forEach((client) => client.close());
        })));
        await Promise.all(clients.map((client, n) => client.channels.get('behind').publish('n', String(n))));`;
      const args = ['--input-type=module', '-e', program];
      const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: sdk, timeout: 30_000 });
      assert.equal(stdout.trim(), '9');
    };
    await exchange();
    await nodes.servers[0].stop();
    await exchange();
  } finally {
    await proxy.stop();
    nodes.servers.shift();
    await nodes.stop();
    await files.remove();
  }
});
