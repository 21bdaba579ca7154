// An app in the sandbox of a real server, and clients of the published SDK that speak to it
// (docs/protocols/ably.md §1.1, §11.13).

import { strict as assert } from 'node:assert';
import * as Ably from 'ably';
import { startSite } from './nodes.mjs';

/** How long a test may wait for anything; only a fault takes so long. */
export const PATIENCE_MS = 20_000;

/** The two formats of frames and bodies, by the name that a test shows. */
export const FORMATS = { json: false, msgpack: true };

const SET_UP = {
  keys: [{}, { capability: JSON.stringify({ 'open:*': ['*'], 'read:*': ['subscribe', 'history'] }) }, { capability: '{"[*]*":["*"]}' }],
  namespaces: [{ id: 'persisted', persisted: true }, { id: 'mutable', mutableMessages: true }],
};

/**
 * Starts a server of its own and makes an app in its sandbox. `origins`: of pages that may connect. `nodes`: so many servers
 * that share a Redis, and each connection comes to the next one.
 */
export async function startApp({ origins = ['http://localhost:3000'], settings = {}, nodes } = {}) {
  const server = await startSite({ origins, settings: { LETSHARE_ABLY_SANDBOX: 'true', ...settings } }, nodes);
  try {
    const answer = await fetch(`${server.http}/apps`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(SET_UP),
    });
    const text = await answer.text();
    assert.equal(answer.status, 201, `POST /apps: ${text}`);
    const { keys } = JSON.parse(text);
    for (const node of server.servers ?? []) await known(node, keys[0].keyStr);
    return new App(server, keys.map(({ keyStr }) => keyStr));
  } catch (error) {
    await server.stop();
    throw error;
  }
}

/** Waits until a node has heard of the app that another one has made. */
async function known(node, key) {
  for (const until = Date.now() + PATIENCE_MS; ; ) {
    const answer = await fetch(`${node.http}/channels/none/messages`, { headers: { authorization: `Basic ${btoa(key)}` } });
    await answer.arrayBuffer();
    if (answer.status === 200) return;
    assert.ok(Date.now() < until, `the app is not known to all nodes: ${answer.status}`);
  }
}

/** A server, the keys of an app on it, and all clients that were made for it. */
export class App {
  #clients = new Set();

  constructor(server, keys) {
    Object.assign(this, { server, keys, key: keys[0] });
  }

  /** What every client is given: where the server is, and that there is no other. */
  options(more = {}) {
    const known = ['key', 'token', 'tokenDetails', 'authCallback', 'authUrl'].some((name) => name in more);
    return {
      ...(known ? {} : { key: this.key }),
      endpoint: '127.0.0.1',
      port: this.server.port,
      tls: false,
      useBinaryProtocol: false,
      disableConnectivityCheck: true,
      logLevel: 0,
      ...more,
    };
  }

  rest(more) {
    return new Ably.Rest(this.options(more));
  }

  /** A realtime client over WebSocket alone, closed by `stop`. */
  realtime(more) {
    const client = new Ably.Realtime(this.options({ transports: ['web_socket'], ...more }));
    this.#clients.add(client);
    return client;
  }

  /** The same, connected. */
  async connected(more) {
    const client = this.realtime(more);
    await reach(client.connection, 'connected');
    return client;
  }

  async stop() {
    for (const client of this.#clients) client.close();
    await this.server.stop();
  }
}

/** Waits until a connection or channel is in one of `states`; the last change that it told. */
export function reach(machine, ...states) {
  if (states.includes(machine.state)) return Promise.resolve({ current: machine.state, reason: machine.errorReason });
  return within(`${machine.name ?? 'the connection'} to be ${states.join(' or ')}`, (resolve, reject) => {
    const look = (change) => {
      if (states.includes(change.current)) settle(resolve, change);
      // Nothing leads out of `failed`: whoever waits for another state waits in vain.
      else if (change.current === 'failed') settle(reject, change.reason);
    };
    const settle = (how, value) => {
      machine.off(look);
      how(value);
    };
    machine.on(look);
  });
}

/** A promise with a limit, whose complaint says what was waited for. */
export function within(what, start, limit = PATIENCE_MS) {
  return new Promise((resolve, reject) => {
    const complaint = () => new Error(`waited in vain for ${typeof what === 'function' ? what() : what} (${limit} ms)`);
    const timer = setTimeout(() => reject(complaint()), limit);
    const done = (settle) => (value) => {
      clearTimeout(timer);
      settle(value);
    };
    start(done(resolve), done(reject));
  });
}

/** Whatever was put in, in order, for a test to wait on. */
export class Inbox {
  items = [];
  #waiting = new Set();

  /** An inbox of all messages that a channel delivers from now on; attaches it. */
  static async of(channel) {
    const inbox = new Inbox();
    await channel.subscribe((message) => inbox.put(message));
    return inbox;
  }

  put(item) {
    this.items.push(item);
    for (const look of this.#waiting) look();
  }

  /** Waits until `condition(items)` holds, then gives the items. */
  until(condition, what = condition, limit = PATIENCE_MS) {
    const last = () => `${what}; ${this.items.length} came, the last: ${JSON.stringify(this.items.at(-1))}`;
    return within(last, (resolve) => {
      const look = () => {
        if (!condition(this.items)) return;
        this.#waiting.delete(look);
        resolve(this.items);
      };
      this.#waiting.add(look);
      look();
    }, limit);
  }

  count(many) {
    return this.until((items) => items.length >= many, `${many} items`);
  }

  /** Waits for a message of this name; what came up to it, without it. */
  async upTo(name) {
    const found = (items) => items.findIndex((item) => item.name === name);
    const items = await this.until((items) => found(items) >= 0, `a message named ${name}`);
    return items.slice(0, found(items));
  }
}

/** Asserts that a promise is refused with this Ably error code. */
export function refused(promise, code) {
  return assert.rejects(promise, (error) => {
    assert.equal(error.code, code, `${error}`);
    return true;
  });
}

/** 0, 1, ... up to `many`. */
export const range = (many) => Array.from({ length: many }, (_, n) => n);

/** A channel name that no other test uses. */
let minted = 0;
export const fresh = (name) => `${name}-${process.pid}-${(minted += 1)}`;
