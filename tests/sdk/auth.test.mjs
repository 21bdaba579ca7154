// Keys and tokens as npm `ably` shows them (docs/protocols/ably.md §4.2, §4.7, §12).

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { after, before, test } from 'node:test';
import * as Ably from 'ably';
import { FORMATS, Inbox, fresh, reach, refused, startApp, within } from './app.mjs';

const LIMIT = { timeout: 60_000 };

let app;
before(async () => (app = await startApp()));
after(() => app?.stop());

/** An authCallback that signs token requests; `params()` may ask for something else each time. */
function signer(params) {
  const rest = app.rest();
  const asked = new Inbox();
  const authCallback = (_, done) => {
    asked.put(params());
    rest.auth.createTokenRequest(params()).then((request) => done(null, request), (error) => done(error, null));
  };
  return { authCallback, asked };
}

/** All that a connection goes through, from now on. */
function log(machine) {
  const changes = new Inbox();
  machine.on((change) => changes.put(change));
  return changes;
}

for (const [format, useBinaryProtocol] of Object.entries(FORMATS)) {
  test(`a token with a narrowed capability grants that and no more: ${format}`, LIMIT, async () => {
    const [open, shut] = [fresh('open'), fresh('shut')];
    const capability = { [open]: ['subscribe', 'history'], 'write:*': ['publish'] };
    const tokenDetails = await app.rest().auth.requestToken({ capability: JSON.stringify(capability), clientId: 'ann' });
    assert.deepEqual(JSON.parse(tokenDetails.capability), { [open]: ['history', 'subscribe'], 'write:*': ['publish'] });
    assert.equal(tokenDetails.clientId, 'ann');
    assert.ok(tokenDetails.expires > tokenDetails.issued);

    const client = await app.connected({ tokenDetails, useBinaryProtocol });
    assert.equal(client.auth.clientId, 'ann');
    const channel = client.channels.get(open);
    const inbox = await Inbox.of(channel);
    assert.deepEqual(channel.modes, ['subscribe', 'presence_subscribe']);
    await refused(channel.publish('no', null), 40160);
    await refused(client.channels.get(shut).attach(), 40160);
    assert.equal(client.channels.get(shut).state, 'failed');
    await client.channels.get('write:here').publish('yes', null);
    await refused(client.channels.get('write:here').history(), 40160);

    const rest = app.rest({ tokenDetails, useBinaryProtocol });
    await refused(rest.channels.get(open).publish('no', null), 40160);
    await rest.channels.get('write:here').publish('yes', null);
    assert.deepEqual((await rest.channels.get(open).history()).items, []);

    // None of the refusals took the connection along.
    await app.rest().channels.get(open).publish('heard', null);
    await inbox.count(1);
    assert.equal(client.connection.state, 'connected');
  });

  test(`a token is never wider than its key: ${format}`, LIMIT, async () => {
    const narrow = app.rest({ key: app.keys[1], useBinaryProtocol });
    const { capability } = await narrow.auth.requestToken({ capability: { 'read:*': ['*'], 'open:x': ['publish'] } });
    assert.deepEqual(JSON.parse(capability), { 'open:x': ['publish'], 'read:*': ['history', 'subscribe'] });
    await refused(narrow.auth.requestToken({ capability: { other: ['*'] } }), 40160);
    await refused(narrow.channels.get('read:x').publish('no', null), 40160);
  });

  test(`authorize() changes the rights of a live connection: ${format}`, LIMIT, async () => {
    const [first, second] = [fresh('first'), fresh('second')];
    let capability = { [first]: ['*'] };
    const { authCallback } = signer(() => ({ capability }));
    const client = await app.connected({ authCallback, useBinaryProtocol });
    const { id } = client.connection;
    const changes = log(client.connection);
    const stays = client.channels.get(first);
    const inbox = await Inbox.of(stays);
    await refused(client.channels.get(second).attach(), 40160);

    capability = { [first]: ['*'], [second]: ['*'] };
    await client.auth.authorize();
    await client.channels.get(second).attach();
    await stays.publish('still', null);

    capability = { [first]: ['subscribe'], [second]: ['*'] };
    await client.auth.authorize();
    await refused(stays.publish('no more', null), 40160);
    assert.equal(stays.state, 'attached');
    await client.channels.get(second).publish('fine', null);

    const lost = reach(stays, 'failed').catch((reason) => ({ reason }));
    capability = { [second]: ['*'] };
    await client.auth.authorize();
    const { reason } = await lost;
    assert.equal((reason ?? stays.errorReason).code, 40160);
    assert.equal(client.channels.get(second).state, 'attached');

    assert.deepEqual(inbox.items.map(({ name }) => name), ['still']);
    assert.equal(client.connection.id, id);
    assert.deepEqual(changes.items.map(({ current }) => current), Array(3).fill('connected'), 'no reconnect');
  });

  test(`a token that expires is renewed, and nothing is lost meanwhile: ${format}`, LIMIT, async () => {
    const name = fresh('expiry');
    const { authCallback, asked } = signer(() => ({ ttl: 1500 }));
    const client = await app.connected({ authCallback, useBinaryProtocol });
    const { id } = client.connection;
    const inbox = await Inbox.of(client.channels.get(name));
    const publisher = await app.connected({ useBinaryProtocol });
    let sent = 0;
    for (const renewals of [1, 2, 3]) {
      // While the client is away: after the token has been asked for, before it is used.
      await asked.count(renewals + 1);
      for (let n = 0; n < 10; n += 1) await publisher.channels.get(name).publish('n', { n: sent++ });
    }
    const heard = await inbox.count(sent);
    assert.deepEqual(heard.map(({ data }) => data.n), heard.map((_, n) => n));
    assert.equal(client.connection.id, id, 'the connection was resumed');
  });

  test(`a token that nobody renews ends the connection: ${format}`, LIMIT, async () => {
    const { token } = await app.rest().auth.requestToken({ ttl: 600 });
    const client = app.realtime({ token, useBinaryProtocol });
    const changes = log(client.connection);
    await changes.until((all) => all.some(({ current }) => current === 'failed'), 'the end');
    const reasons = changes.items.map(({ current, reason }) => [current, reason?.code]);
    // 40171: no means to renew; 40142 is what the server said (§4.2).
    assert.deepEqual(reasons.at(-1), ['failed', 40171], JSON.stringify(reasons));
    const rest = app.rest({ token, useBinaryProtocol });
    await assert.rejects(rest.channels.get('x').history(), ({ code }) => [40142, 40171].includes(code));
  });

  test(`a wrong key is refused for good: ${format}`, LIMIT, async () => {
    const [keyName] = app.key.split(':');
    const refusals = [
      [`${keyName}:wrong`, 40101, 401],
      // findings A2: HTTP says 401, because it is a credential that lets nobody in.
      [`${keyName.slice(0, 6)}.nosuch:wrong`, 40400, 404, 401],
      ['zzzzzz.nosuch:wrong', 40400, 404],
      ['api:key', 40101, 401],
    ];
    for (const [key, code, statusCode, overHttp = statusCode] of refusals) {
      const client = app.realtime({ key, useBinaryProtocol });
      const { reason } = await reach(client.connection, 'failed');
      assert.deepEqual([reason.code, reason.statusCode], [code, statusCode], key);
      const rest = app.rest({ key, useBinaryProtocol });
      await assert.rejects(rest.channels.get('x').publish('x', null), (error) => {
        assert.deepEqual([error.code, error.statusCode], [code, overHttp], key);
        return true;
      });
      assert.ok(Number.isInteger(await rest.time()), '§11.2: the time is for everybody');
    }
  });

  test(`a JWT signed with a key stands for it: ${format}`, LIMIT, async () => {
    const name = fresh('jwt');
    const now = Math.floor(Date.now() / 1000);
    const claims = {
      iat: now,
      exp: now + 600,
      'x-ably-capability': JSON.stringify({ [name]: ['publish', 'subscribe'] }),
      'x-ably-clientId': 'jay',
    };
    const client = await app.connected({ token: jwt(app.key, claims), useBinaryProtocol });
    assert.equal(client.auth.clientId, 'jay');
    const inbox = await Inbox.of(client.channels.get(name));
    await client.channels.get(name).publish('x', null);
    assert.equal((await inbox.count(1))[0].clientId, 'jay');
    await refused(client.channels.get(fresh('other')).attach(), 40160);

    const forged = app.realtime({ token: jwt(`${app.key}x`, claims), useBinaryProtocol });
    const changes = log(forged.connection);
    await changes.until((all) => all.some(({ current }) => ['failed', 'disconnected'].includes(current)), 'a refusal');
    assert.ok(changes.items.every(({ current }) => current !== 'connected'));
  });

  test(`a token that names a client binds the connection to it: ${format}`, LIMIT, async () => {
    const tokenDetails = await app.rest().auth.requestToken({ clientId: 'ann' });
    const client = await app.connected({ tokenDetails, useBinaryProtocol });
    const channel = client.channels.get(fresh('identity'));
    const inbox = await Inbox.of(channel);
    await refused(channel.publish({ name: 'x', clientId: 'ben' }), 40012);
    await channel.publish({ name: 'x' });
    assert.equal((await inbox.count(1))[0].clientId, 'ann');
    const rest = app.rest({ tokenDetails, useBinaryProtocol }).channels.get(channel.name);
    await refused(rest.publish({ name: 'x', clientId: 'ben' }), 40012);
  });
}

/** HS256, §12.4. */
function jwt(key, claims) {
  const [kid, secret] = [key.slice(0, key.indexOf(':')), key.slice(key.indexOf(':') + 1)];
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const signed = `${part({ typ: 'JWT', alg: 'HS256', kid })}.${part(claims)}`;
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
}
