// Every command and every sample of the pages, as it stands there, against one server per page.
//
// What a page shows is run when its language is `sh`, `js` or `python`, in the order of the page: in one folder of its
// own, with `letshare-server` on the path, and with the key, the address and the port of the server in place of KEY and
// of those that the pages use. A block that is followed by one of `text prints` has to print that; `…` in it stands for
// anything. A sample that ends is expected to end with 0. A page that needs settings of the server says so by a block of `text server`,
// the command that starts it.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { binary, startServer } from '../browser/server.mjs';
import { PATIENCE_MS } from './app.mjs';

const root = resolve(fileURLToPath(import.meta.url), '../../..');
const modules = join(root, 'tests/sdk/node_modules');
const python = join(root, 'tests/.cache/venv/bin/python');

/** Samples that are run elsewhere, or that a test is itself; each has to be on some page. */
const ELSEWHERE = [
  ['README.md', /^cargo run --release/, 'this is what the tests run'],
  ['README.md', /^curl -Nu KEY/, 'readme.test.mjs'],
  ['README.md', /^curl -u KEY /, 'readme.test.mjs'],
  ['README.md', /^const key = /, 'readme.test.mjs'],
  ['README.md', /^const token = /, 'tests/browser/readme.test.mjs'],
];
const seen = new Set();

const FENCE = /^```(\w+)([^\n]*)\n(.*?)^```$/gms;

function samplesOf(page, text) {
  const blocks = [...text.matchAll(FENCE)].map(([, language, info, code]) => ({ language, info: info.trim(), code }));
  const samples = [];
  for (const [at, block] of blocks.entries()) {
    if (!['sh', 'js', 'python'].includes(block.language)) continue;
    const place = ELSEWHERE.findIndex(([where, form]) => where === page && form.test(block.code));
    if (place >= 0) {
      seen.add(place);
      continue;
    }
    const next = blocks[at + 1];
    samples.push({ ...block, prints: next?.language === 'text' && next.info === 'prints' ? next.code : null });
  }
  return samples;
}

const COMMANDS = {
  sh: (code) => ['sh', ['-ec', code]],
  js: (code) => [process.execPath, ['--input-type=module', '-e', code]],
  python: (code) => [python, ['-c', code]],
};

/** Runs it to its end; what it printed, both streams. */
async function run([program, args], { cwd, env }) {
  // A group of its own, so that what a shell has started ends with it.
  const child = spawn(program, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  let printed = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (printed += chunk));
  const late = setTimeout(() => process.kill(-child.pid, 'SIGKILL'), PATIENCE_MS);
  const status = await new Promise((done, failed) => {
    child.on('close', (code, signal) => done(signal ?? code));
    child.on('error', failed);
  });
  clearTimeout(late);
  return { status, printed };
}

const escaped = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
const pattern = (prints) => new RegExp(prints.trim().split('…').map(escaped).join('[^]*?'));

/** Pages that lead a user, not those that are about the source, whose Rust samples `tests/docs/` compares. */
async function pages() {
  const folders = await Promise.all(['docs', 'docs/protocols'].map(async (folder) => {
    const names = (await readdir(join(root, folder))).filter((name) => name.endsWith('.md'));
    return names.sort().map((name) => `${folder}/${name}`);
  }));
  return ['README.md', ...folders.flat()];
}

/** What the command of a page sets. */
function settingsOf(text) {
  const [, , , command = ''] = [...text.matchAll(FENCE)].find(([, language, info]) => language === 'text' && info.trim() === 'server') ?? [];
  return Object.fromEntries([...command.matchAll(/(LETSHARE_\w+)=(\S+)/g)].map(([, name, value]) => [name, value]));
}

for (const page of await pages()) {
  const text = await readFile(join(root, page), 'utf8');
  const samples = samplesOf(page, text);
  if (!samples.length) continue;

  test(`${page}: ${samples.length} samples do what the page says`, async () => {
    // An app with what the pages show: they say so where the app of MODE=local has it not.
    const folder = await mkdtemp(join(tmpdir(), 'letshare-pages-'));
    const apps = join(folder, 'apps.yaml');
    const shown = [...text.matchAll(FENCE)].find(([, language, info]) => language === 'yaml' && info.includes('apps.yaml'));
    const settings = settingsOf(text);
    if (shown) {
      await writeFile(apps, shown[3]);
      settings.LETSHARE_ABLY_APPS_FILE = apps;
    }
    const server = await startServer({ origins: ['http://localhost:3000'], settings });
    try {
      await symlink(modules, join(folder, 'node_modules'));
      const key = shown ? keyOf(shown[3]) : await server.key();
      const env = { ...server.env, PATH: `${dirname(binary)}:${process.env.PATH}`, HOME: folder };
      await symlink(join(root, 'configs'), join(folder, 'configs'));
      for (const sample of samples) {
        const code = sample.code
          .replaceAll('PASTE-YOUR-KEY-HERE', key)
          .replace(/\bKEY\b/g, key)
          .replaceAll('127.0.0.1:8080', `127.0.0.1:${server.port}`)
          .replaceAll('localhost:8080', `localhost:${server.port}`)
          .replace(/\bport: 8080\b/g, `port: ${server.port}`)
          .replace(/\bport=8080\b/g, `port=${server.port}`);
        const { status, printed } = await run(COMMANDS[sample.language](code), { cwd: folder, env });
        assert.equal(status, 0, `${page}:\n${sample.code}\nended with ${status} and printed:\n${printed}`);
        if (sample.prints) assert.match(printed, pattern(sample.prints), `${page}:\n${sample.code}`);
      }
    } finally {
      await server.stop();
      await rm(folder, { recursive: true, force: true });
    }
  });
}

/** The first key of an apps file, as clients write it. */
function keyOf(yaml) {
  const [app, id] = [...yaml.matchAll(/- id: (\w+)/g)].map(([, name]) => name);
  return `${app}.${id}:${yaml.match(/secret: (\S+)/)[1]}`;
}

test('each sample that is run elsewhere is on its page', () => {
  const stale = ELSEWHERE.filter((_, place) => !seen.has(place));
  assert.deepEqual(stale, []);
});

test('the picture of what a delivery costs is that of the table', async () => {
  const { status, printed } = await run([process.execPath, [join(root, 'benches/plot.mjs'), '--check']], { cwd: root, env: process.env });
  assert.equal(status, 0, printed);
});
