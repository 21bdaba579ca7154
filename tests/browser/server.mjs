// The real binary as a child process on a free loopback port, with its own folders; ended by its pid.
//
// LETSHARE_BIN names the binary; without it the one that `cargo test` or `cargo nextest run` left
// in the target folder is taken, so nothing is built twice.

import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const root = resolve(fileURLToPath(import.meta.url), '../../..');
const target = resolve(root, process.env.CARGO_TARGET_DIR ?? 'target');
export const binary = process.env.LETSHARE_BIN ?? join(target, 'debug', 'letshare-server');

const START_MS = 15_000;
// The server promises to be gone 30 s after SIGTERM (`shutdown.grace`).
const STOP_MS = 35_000;

const AUTH_SECRET = 'browser-tests-static-secret-9f2c41';
const JWT_SECRET = 'browser-tests-jwt-secret-0123456789abcdef';

/** docs/protocols/letshare.md §1.3: the static token is the lower-case hex SHA-256 of the secret. */
export const staticToken = createHash('sha256').update(AUTH_SECRET).digest('hex');

/** Starts the server; pages of `origins` may connect. `settings` are further variables of its environment. */
export async function startServer({ origins, settings = {}, program = binary }) {
  if (!existsSync(program)) {
    throw new Error(`no server at ${program}: run tests/run, or cargo build, or set LETSHARE_BIN`);
  }
  const folder = await mkdtemp(join(tmpdir(), 'letshare-browser-'));
  const port = await freePort();
  // Nothing of the caller's environment may change what is tested.
  const env = {
    PATH: process.env.PATH,
    MODE: 'local',
    LETSHARE_SERVER_HOST: '127.0.0.1',
    LETSHARE_SERVER_PORT: String(port),
    LETSHARE_CORS_ALLOWED_ORIGINS: origins.join(','),
    LETSHARE_JWT_SECRET: JWT_SECRET,
    LETSHARE_LOG_DIR: join(folder, 'logs'),
    LETSHARE_DATA_DIR: join(folder, 'data'),
    SERVER_AUTH_SECRET: AUTH_SECRET,
    ...settings,
  };
  // Another build has its own files of settings.
  const cwd = program === binary ? root : folder;
  const child = spawn(program, [], { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  child.stdout.on('data', (chunk) => (output += chunk));
  child.stderr.on('data', (chunk) => (output += chunk));
  const exited = once(child, 'exit').then(([code, signal]) => ({ code, signal }));

  const http = `http://127.0.0.1:${port}`;
  await ready(`${http}/ready`, child, () => output);

  return {
    http,
    ws: `ws://127.0.0.1:${port}`,
    port,
    pid: child.pid,
    /** What it was started with: the command line of the same binary then works on the same folders. */
    env,
    output: () => output,

    /** The Ably key among the lines for the person at the terminal, which come a moment after the port is open. */
    async key() {
      for (const until = Date.now() + START_MS; ; ) {
        const key = output.match(/key: '([^']+)'/)?.[1];
        if (key) return key;
        if (Date.now() > until) throw new Error(`no key in:\n${output}`);
        await new Promise((next) => setTimeout(next, 20));
      }
    },

    /** A JWT from the server's own command line. */
    async mint(...args) {
      const { stdout } = await promisify(execFile)(binary, ['token', 'mint', ...args], { cwd: root, env });
      const token = stdout.match(/[\w-]+\.[\w-]+\.[\w-]+/)?.[0];
      if (!token) throw new Error(`token mint printed no token: ${stdout}`);
      return token;
    },

    /** SIGTERM, then the exit status; SIGKILL and an error when it takes longer than promised. */
    async stop() {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM');
      const late = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
      const status = await exited;
      clearTimeout(late);
      await rm(folder, { recursive: true, force: true });
      if (status.code !== 0) {
        throw new Error(`the server ended with ${JSON.stringify(status)}; it said:\n${output}`);
      }
    },
  };
}

export async function freePort() {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address();
  probe.close();
  await once(probe, 'close');
  return port;
}

/** Asks `/ready` until it says 200; fails at once when the server is gone. */
async function ready(url, child, output) {
  for (const until = Date.now() + START_MS; ; ) {
    if (child.exitCode !== null || child.signalCode !== null) {
      throw new Error(`the server ended while it started; it said:\n${output()}`);
    }
    const answer = await fetch(url).catch(() => null);
    if (answer?.status === 200) return;
    if (Date.now() > until) {
      child.kill('SIGKILL');
      throw new Error(`${url} was not 200 within ${START_MS} ms; the server said:\n${output()}`);
    }
    await new Promise((next) => setTimeout(next, 20));
  }
}
