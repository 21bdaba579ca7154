// The README's lines to the first message with an SDK, as they stand there.

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { startServer } from '../browser/server.mjs';
import { PATIENCE_MS } from './app.mjs';

let server;
before(async () => (server = await startServer({ origins: ['http://localhost:3000'] })));
after(() => server?.stop());

test('the first message of the README arrives, with the key that the server prints', async () => {
  const readme = await readFile(new URL('../../README.md', import.meta.url), 'utf8');
  const snippet = readme.match(/```js\n(const key.*?)```/s)[1];
  const key = await server.key();
  const program = snippet.replace('PASTE-YOUR-KEY-HERE', key).replace('port: 8080', `port: ${new URL(server.http).port}`);
  assert.ok(!program.includes('PASTE') && !program.includes('8080'));
  const run = promisify(execFile);
  const { stdout } = await run(process.execPath, ['--input-type=module', '-e', program], {
    cwd: new URL('.', import.meta.url),
    timeout: PATIENCE_MS,
  });
  assert.equal(stdout.trim(), 'greeting hello');
});

// findings N6, N16: what the README shows is what happens.
test('the two curl lines of the README listen and publish on one channel', async () => {
  const readme = await readFile(new URL('../../README.md', import.meta.url), 'utf8');
  const key = await server.key();
  const [listen, publish] = [...readme.matchAll(/```sh\n(curl .*?)```/gs)].map(([, command]) =>
    command.replace('KEY', key).replace('http://127.0.0.1:8080', server.http),
  );
  assert.match(listen, /sse\?channels=demo&/);
  const listener = spawn('sh', ['-c', `exec ${listen}`], { stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    const lines = createInterface({ input: listener.stdout })[Symbol.asyncIterator]();
    const next = async (start) => {
      for (;;) {
        const { value, done } = await lines.next();
        if (done || value.startsWith(start)) return value;
      }
    };
    // The stream tells its place before anything is published.
    await next('id: ');
    await promisify(execFile)('sh', ['-c', publish], { timeout: PATIENCE_MS });
    assert.equal(await next('event: '), 'event: message');
    const message = JSON.parse((await next('data: ')).slice('data: '.length));
    assert.deepEqual([message.name, message.data, message.channel], ['greeting', 'hello', 'demo']);
  } finally {
    listener.kill();
  }
});
