// The server behind nginx, HAProxy and Caddy, each with its file of deploy/.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import { createRequire } from 'node:module';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { freePort, startServer, staticToken } from '../browser/server.mjs';
import { adapt, eventually, folder, run } from './programs.mjs';

const sdk = new URL('../sdk/', import.meta.url);
const { WebSocket } = createRequire(sdk)('ws');
const HOST = 'your.host';

/** How each is started, with what an operator would change in its file. */
const PROXIES = {
  async nginx({ port, upstream, files, certificate, key }) {
    await adapt('nginx/letshare.conf', files.file('letshare.conf'), [
      ['listen 443 ssl', `listen 127.0.0.1:${port} ssl`],
      ['127.0.0.1:8080', upstream],
      ['/etc/ssl/letshare/cert.pem', certificate],
      ['/etc/ssl/letshare/key.pem', key],
    ]);
    const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
    const folders = temporary.map((name) => `${name}_temp_path ${files.file(name)};`).join('\n');
    const main = `daemon off;\npid ${files.file('nginx.pid')};\nerror_log stderr;\nevents {}\nhttp {\naccess_log off;\n${folders}\ninclude ${files.file('letshare.conf')};\n}\n`;
    await writeFile(files.file('nginx.conf'), main);
    return run('nginx', ['-c', files.file('nginx.conf')]);
  },
  async haproxy({ port, upstream, files, certificate, key }) {
    const both = (await readFile(certificate, 'utf8')) + (await readFile(key, 'utf8'));
    await writeFile(files.file('both.pem'), both, { mode: 0o600 });
    await adapt('haproxy/haproxy.cfg', files.file('haproxy.cfg'), [
      ['bind :443', `bind 127.0.0.1:${port}`],
      ['127.0.0.1:8080', upstream],
      ['/etc/ssl/letshare/both.pem', files.file('both.pem')],
    ]);
    return run('haproxy', ['-db', '-f', files.file('haproxy.cfg')]);
  },
  async caddy({ port, upstream, files, certificate, key }) {
    const site = `https://localhost:${port}, https://${HOST}:${port} {\n\tbind 127.0.0.1\n\ttls ${certificate} ${key}`;
    await adapt('caddy/Caddyfile', files.file('Caddyfile'), [
      [`${HOST} {`, site],
      ['127.0.0.1:8080', upstream],
    ]);
    // Neither its own port for administration nor the one for redirects.
    const text = await readFile(files.file('Caddyfile'), 'utf8');
    await writeFile(files.file('Caddyfile'), `{\n\tadmin off\n\tauto_https disable_redirects\n}\n${text}`);
    const env = { ...process.env, XDG_DATA_HOME: files.path, XDG_CONFIG_HOME: files.path };
    return run('caddy', ['run', '--config', files.file('Caddyfile'), '--adapter', 'caddyfile'], { env });
  },
};

let server, files, certificate, key, ca;
before(async () => {
  server = await startServer({
    origins: ['http://localhost:3000'],
    settings: {
      LETSHARE_SERVER_TRUSTED_PROXIES: '127.0.0.1',
      LETSHARE_SERVER_PUBLIC_HOSTS: HOST,
      LETSHARE_WEBSOCKET_PING_INTERVAL: '1s',
      LETSHARE_WEBSOCKET_IDLE_TIMEOUT: '3s',
    },
  });
  files = await folder();
  [certificate, key] = [files.file('cert.pem'), files.file('key.pem')];
  const names = `subjectAltName=DNS:localhost,DNS:${HOST}`;
  const args = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
  const rest = ['-subj', '/CN=localhost', '-addext', names, '-keyout', key, '-out', certificate];
  await promisify(execFile)('openssl', [...args, ...rest]);
  ca = await readFile(certificate);
});
after(async () => {
  await server?.stop();
  await files?.remove();
});

for (const [name, start] of Object.entries(PROXIES)) {
  test(`${name}: SDKs, idle clients, addresses and origins`, async () => {
    const [port, own] = [await freePort(), await folder()];
    const proxy = await start({ port, upstream: `127.0.0.1:${server.port}`, files: own, certificate, key });
    const ask = (path, options = {}) =>
      new Promise((done, fail) => {
        const headers = { Host: HOST, ...options.headers };
        const sent = request({ host: '127.0.0.1', port, path, ca, servername: HOST, ...options, headers }, (answer) => {
          answer.resume();
          answer.on('end', () => done(answer.statusCode));
        });
        sent.on('error', fail).end();
      });
    const upgrade = async (origin) => {
      const url = `wss://127.0.0.1:${port}/?token=${staticToken}&userId=me:1`;
      const socket = new WebSocket(url, { ca, servername: HOST, origin, headers: { Host: HOST } });
      const refused = once(socket, 'unexpected-response').then(([, answer]) => answer.statusCode);
      const opened = once(socket, 'open').then(() => socket);
      // What is cut off after a refusal is no news.
      [refused, opened].forEach((promise) => promise.catch(() => {}));
      socket.on('error', () => {});
      return Promise.race([refused, opened]);
    };
    try {
      await eventually(`${name} answers`, async () => (await ask('/health')) === 200);

      // An unmodified SDK, over the proxy's certificate: by WebSocket, and without one by comet and REST.
      const options = { key: await server.key(), endpoint: 'localhost', tlsPort: port };
      const env = { ...process.env, NODE_EXTRA_CA_CERTS: certificate };
      for (const transports of [['web_socket'], ['comet']]) {
        const program = `
          import * as Ably from 'ably';
          const client = new Ably.Realtime(${JSON.stringify({ ...options, transports })});
          const channel = client.channels.get('behind');
          await channel.subscribe((message) => { console.log(message.data); client.close(); });
          await channel.publish('greeting', 'hello by ' + ${JSON.stringify(transports[0])});`;
        const args = ['--input-type=module', '-e', program];
        const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: sdk, env, timeout: 20_000 });
        assert.equal(stdout.trim(), `hello by ${transports[0]}`);
      }

      // The page of the public name is the server's own, another one is not.
      const socket = await upgrade(`https://${HOST}`);
      assert.equal(typeof socket, 'object', `refused with ${socket}`);
      assert.equal(await upgrade('https://elsewhere.example'), 403);

      // Several pings later it is still open.
      let pings = 0;
      socket.on('ping', () => (pings += 1));
      await eventually('some pings', () => pings >= 4);
      assert.equal(socket.readyState, WebSocket.OPEN);
      socket.close();

      // Clients keep their own addresses: the log tells that of the one who is refused.
      assert.equal(await ask('/?token=wrong', { localAddress: '127.0.0.2' }), 401);
      await eventually('the address in the log', () => server.output().includes('127.0.0.2'));
    } catch (error) {
      error.message += `\n${name} said:\n${proxy.output()}`;
      throw error;
    } finally {
      await proxy.stop();
      await own.remove();
    }
  });
}
