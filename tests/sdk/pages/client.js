// What the tests do in a page with the SDK's own browser bundle. All settings come from the test.

/** Waits until `condition()` holds; it is looked at whenever a message comes. */
function until(waiting, condition, what) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`waited in vain for ${what}`)), 20_000);
    const look = () => {
      if (!condition()) return;
      clearTimeout(timer);
      waiting.delete(look);
      resolve();
    };
    waiting.add(look);
    look();
  });
}

async function sha256(bytes) {
  const digest = await crypto.subtle.digest('SHA-256', bytes);
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** LiveObjects, whose bundle a page loads beside that of the SDK. */
function liveObjects() {
  return new Promise((resolve, reject) => {
    const script = document.createElement('script');
    Object.assign(script, { src: '/objects.js', onload: () => resolve(globalThis.AblyLiveObjectsPlugin), onerror: reject });
    document.head.append(script);
  });
}

globalThis.Client = class {
  heard = [];
  #waiting = new Set();

  async connect({ withObjects, ...options }, channel) {
    this.options = options;
    if (withObjects) options.plugins = await liveObjects();
    // The older version gives promises only to whoever asks for them.
    this.ably = new (Ably.Realtime.Promise ?? Ably.Realtime)(options);
    this.channel = this.ably.channels.get(channel, withObjects && { modes: ['SUBSCRIBE', 'OBJECT_SUBSCRIBE', 'OBJECT_PUBLISH'] });
    await this.channel.subscribe((message) => {
      this.heard.push(message);
      for (const look of this.#waiting) look();
    });
    return this.ably.connection.id;
  }

  /** The transport that the connection goes by, once it is this one. */
  async transport(name) {
    const manager = this.ably.connection.connectionManager;
    const current = () => manager.activeProtocol?.getTransport().shortName;
    for (const until = Date.now() + 20_000; current() !== name && Date.now() < until; ) {
      await new Promise((next) => setTimeout(next, 20));
    }
    return current();
  }

  /** `[name, data]` of the first `many` messages. */
  async names(many) {
    await until(this.#waiting, () => this.heard.length >= many, `${many} messages`);
    return this.heard.map(({ name, data }) => [name, data]);
  }

  async publishMany(many) {
    const results = [];
    for (let n = 0; n < many; n += 1) results.push(this.channel.publish(`n${n}`, { n }));
    await Promise.all(results);
  }

  /** Publishes random bytes in pieces; their hash. */
  async publishBytes(bytes, piece) {
    const all = new Uint8Array(bytes);
    // getRandomValues gives 65536 bytes at a time.
    for (let at = 0; at < bytes; at += 65536) crypto.getRandomValues(all.subarray(at, at + 65536));
    const results = [];
    for (let at = 0; at < bytes; at += piece) {
      results.push(this.channel.publish('piece', all.slice(at, at + piece).buffer));
    }
    await Promise.all(results);
    return sha256(all);
  }

  /** The hash of the first `many` messages, put together. */
  async hashOf(many) {
    await this.names(many);
    return sha256(await new Blob(this.heard.map(({ data }) => data)).arrayBuffer());
  }

  /** Gives the channel a counter. */
  async setCounter(key) {
    await (await this.channel.object.get()).set(key, this.options.plugins.LiveCounter.create(0));
  }

  /** Increments a counter so often; half way its transport breaks. */
  async increment(key, many) {
    const root = await this.channel.object.get();
    const results = [];
    for (let n = 0; n < many; n += 1) {
      results.push(root.get(key).increment(1));
      if (n === many / 2) this.ably.connection.connectionManager.activeProtocol.getTransport().disconnect();
      await new Promise((next) => setTimeout(next, 2));
    }
    await Promise.all(results);
  }

  /** What a counter is, once it is this; or after a while. */
  async counted(key, expected) {
    const root = await this.channel.object.get();
    const value = () => root.get(key).value();
    for (const until = Date.now() + 20_000; value() !== expected && Date.now() < until; ) {
      await new Promise((next) => setTimeout(next, 20));
    }
    return value();
  }

  async present() {
    const members = await this.channel.presence.get();
    return members.map(({ clientId, data }) => [clientId, data]).sort();
  }

  /** Over HTTP, across origins, with an Authorization header: names, page by page. */
  async pages(limit) {
    const all = [];
    for (let page = await this.channel.history({ limit, direction: 'forwards' }); ; page = await page.next()) {
      all.push(page.items.map(({ name }) => name));
      if (page.isLast()) return all;
    }
  }

  /** The error of a REST publish to `channel`: the code comes by a header that CORS must expose. */
  async refusal(channel) {
    const rest = new Ably.Rest(this.options);
    return rest.channels.get(channel).publish('x', 'y').then(() => null, ({ code, statusCode }) => ({ code, statusCode }));
  }

  close() {
    this.ably.close();
  }
};
