// The cookbook of docs/authentication.md: each row's capability, asked of the server by a token that has it.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { startApp } from './app.mjs';

let app;
before(async () => (app = await startApp()));
after(() => app?.stop());

/** What a wish of the table is over HTTP. */
const REQUESTS = {
  publish: (channel) => ['POST', `/channels/${channel}/messages`, { data: 'x' }],
  history: (channel) => ['GET', `/channels/${channel}/messages`],
  presence: (channel) => ['GET', `/channels/${channel}/presence`],
  stats: () => ['GET', '/stats'],
  channels: () => ['GET', '/channels'],
};

async function token(capability) {
  const keyName = app.key.split(':')[0];
  const answer = await ask(basic(app.key), 'POST', `/keys/${keyName}/requestToken`, { keyName, timestamp: Date.now(), capability });
  assert.equal(answer.status, 201, await answer.clone().text());
  return (await answer.json()).token;
}

const basic = (key) => `Basic ${Buffer.from(key).toString('base64')}`;

const ask = (authorization, method, path, body) =>
  fetch(app.server.http + path, {
    method,
    headers: { authorization, 'content-type': 'application/json' },
    body: body && JSON.stringify(body),
  });

test('each capability of the cookbook allows what the page says, and refuses the rest', async () => {
  const page = await readFile(new URL('../../docs/authentication.md', import.meta.url), 'utf8');
  const rows = [...page.matchAll(/^\| ([^|]+) \| `(\{.*?\})` \| ([^|]*) \| ([^|]*?) ?\|$/gm)];
  assert.ok(rows.length >= 8, `${rows.length} rows`);
  for (const [, wish, capability, may, mayNot] of rows) {
    const bearer = `Bearer ${Buffer.from(await token(capability)).toString('base64')}`;
    for (const [request, allowed] of [[may.trim(), true], [mayNot.trim(), false]]) {
      if (!request) continue;
      const [what, channel] = request.split(' ');
      const answer = await ask(bearer, ...REQUESTS[what](channel));
      const text = await answer.text();
      assert.equal(answer.ok, allowed, `${wish}: ${request}: ${answer.status} ${text}`);
      if (!allowed) assert.equal(JSON.parse(text).error.code, 40160, `${wish}: ${request}: ${text}`);
    }
  }
});
