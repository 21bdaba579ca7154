// A TCP proxy in front of the server that loses connections, on command or by chance.
//
// Its troubles, each at a byte count that chance names, so in the middle of a frame as a rule:
//   cut     both sides are gone at once
//   reset   the same, with RST in place of FIN
//   deaf    the server hears the client but not the client the server; then both are gone: what the
//           client has published is published, its ACK is lost, and the client sends it again
//   mute    the same the other way round
//   stall   neither hears the other for a while; then all that was held arrives
//   orphan  the client's side is gone, the server's stays open: it believes that the client lives

import { once } from 'node:events';
import { connect, createServer } from 'node:net';

/** What follows a trouble that waits comes after so many milliseconds. */
const LULL_MS = [1, 120];
/**
 * How many bytes pass in one direction before a trouble begins, each power of two as likely as another:
 * a handshake is about 600, what a subscriber has missed in a second may be 50,000.
 */
const BYTES = { up: [100, 20_000], down: [100, 60_000] };
const TROUBLES = ['cut', 'cut', 'reset', 'deaf', 'deaf', 'mute', 'stall', 'orphan'];

export class Proxy {
  /** Connections lost by chance so far, by kind. */
  losses = {};
  cuts = 0;

  #links = new Set();
  #planned = 0;
  #isShut = false;
  #server;
  #chance;
  #onEnough = () => {};

  /** Starts a proxy to `target`, a port of this machine. It begins calm. */
  static async start(target, chance) {
    const proxy = new Proxy();
    proxy.#chance = chance;
    proxy.#server = createServer((client) => {
      if (proxy.#isShut) return client.destroy();
      const link = new Link(client, connect(target, '127.0.0.1'));
      proxy.#links.add(link);
      link.onGone = () => proxy.#links.delete(link);
      proxy.#plan(link);
    });
    proxy.#server.listen(0, '127.0.0.1');
    await once(proxy.#server, 'listening');
    return proxy;
  }

  get port() {
    return this.#server.address().port;
  }

  /** Loses connections, these and those to come, until `many` are lost; then it is calm again. */
  async trouble(many) {
    this.#planned = this.cuts + many;
    for (const link of this.#links) this.#plan(link);
    await new Promise((resolve) => (this.#onEnough = resolve));
  }

  /** From now on, clients hear nothing of what the server says. */
  deafen() {
    for (const link of this.#links) link.hold({ down: true, lose: true });
  }

  /** Loses all connections now. */
  cut() {
    for (const link of this.#links) link.cut();
  }

  /** Loses all connections, and those to come until `open`. */
  shut() {
    this.#isShut = true;
    this.cut();
  }

  open() {
    this.#isShut = false;
  }

  /** Loses all clients; the server still believes in them. */
  orphan() {
    for (const link of this.#links) link.orphan();
  }

  close() {
    this.#planned = 0;
    for (const link of this.#links) link.cut();
    this.#server.close();
  }

  #plan(link) {
    if (this.cuts >= this.#planned) return link.spare();
    const chance = this.#chance;
    const kind = chance.pick(TROUBLES);
    const side = chance.pick(['up', 'down']);
    link.after(side, chance.magnitude(...BYTES[side]), () => this.#befall(link, kind));
  }

  #befall(link, kind) {
    if (this.cuts >= this.#planned) return;
    const later = (act) => setTimeout(() => link.alive && act(), this.#chance.between(...LULL_MS));
    const lose = (how) => {
      if (!link.alive || this.cuts >= this.#planned) return link.release();
      how();
      this.losses[kind] = (this.losses[kind] ?? 0) + 1;
      this.cuts += 1;
      if (this.cuts === this.#planned) {
        for (const each of this.#links) each.spare();
        this.#onEnough();
      }
    };
    switch (kind) {
      case 'cut':
        return lose(() => link.cut());
      case 'reset':
        return lose(() => link.cut({ reset: true }));
      case 'orphan':
        return lose(() => link.orphan());
      case 'deaf':
        link.hold({ down: true, lose: true });
        return later(() => lose(() => link.cut()));
      case 'mute':
        link.hold({ up: true, lose: true });
        return later(() => lose(() => link.cut()));
      case 'stall':
        link.hold({ up: true, down: true });
        return later(() => {
          link.release();
          this.#plan(link);
        });
    }
  }
}

/** One client's connection and the server's. */
class Link {
  alive = true;
  onGone = () => {};

  #sides;

  constructor(client, server) {
    const side = (from, to) => ({ from, to, held: null, lost: false, passed: 0, at: Infinity, then: null });
    this.#sides = { up: side(client, server), down: side(server, client) };
    for (const each of Object.values(this.#sides)) {
      each.from.setNoDelay(true);
      each.from.on('error', () => {});
      each.from.on('data', (chunk) => this.#pass(each, chunk));
      each.from.on('close', () => this.#end(each));
    }
  }

  /** Calls `then` when `bytes` more have passed on a side; the rest of that chunk does not pass before. */
  after(name, bytes, then) {
    this.spare();
    const side = this.#sides[name];
    Object.assign(side, { at: side.passed + bytes, then });
  }

  /** Forgets what was to happen. */
  spare() {
    for (const side of Object.values(this.#sides)) Object.assign(side, { at: Infinity, then: null });
  }

  /** Holds back what comes on these sides, for `release`, or for nobody. */
  hold({ up = false, down = false, lose = false }) {
    for (const [side, held] of [[this.#sides.up, up], [this.#sides.down, down]]) {
      if (held) Object.assign(side, { held: side.held ?? [], lost: side.lost || lose });
    }
  }

  /** Passes on what was held. Where bytes were lost, nothing may follow them: the link is cut. */
  release() {
    for (const side of Object.values(this.#sides)) {
      const held = side.held ?? [];
      if (side.lost) return this.cut();
      side.held = null;
      for (const chunk of held) this.#pass(side, chunk);
    }
  }

  cut({ reset = false } = {}) {
    this.alive = false;
    for (const { from } of Object.values(this.#sides)) reset ? from.resetAndDestroy() : from.destroy();
    this.onGone();
  }

  orphan() {
    this.hold({ down: true, lose: true });
    this.#sides.up.from.destroy();
  }

  #pass(side, chunk) {
    if (side.held) {
      if (!side.lost) side.held.push(chunk);
      return;
    }
    const room = side.at - side.passed;
    if (chunk.length < room) {
      side.passed += chunk.length;
      side.to.write(chunk);
      return;
    }
    const { then } = side;
    side.passed += room;
    this.spare();
    if (room > 0) side.to.write(chunk.subarray(0, room));
    then();
    if (this.alive) this.#pass(side, chunk.subarray(room));
  }

  #end(side) {
    const orphaned = side === this.#sides.up && this.#sides.down.lost && this.alive;
    if (orphaned) return;
    // What was written before the end arrives before it.
    if (!side.to.destroyed) side.to.end();
    if (side === this.#sides.up || this.#sides.up.from.destroyed) {
      this.alive = false;
      this.onGone();
    }
  }
}
