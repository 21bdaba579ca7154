// The README's lines to the first message with an SDK, as they stand there.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
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
  const key = server.output().match(/key: '([^']+)'/)?.[1] ?? assert.fail(`no key in:\n${server.output()}`);
  const program = snippet.replace('PASTE-YOUR-KEY-HERE', key).replace('port: 8080', `port: ${new URL(server.http).port}`);
  assert.ok(!program.includes('PASTE') && !program.includes('8080'));
  const run = promisify(execFile);
  const { stdout } = await run(process.execPath, ['--input-type=module', '-e', program], {
    cwd: new URL('.', import.meta.url),
    timeout: PATIENCE_MS,
  });
  assert.equal(stdout.trim(), 'greeting hello');
});
