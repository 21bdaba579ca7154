// What a LetShare 3.5.7 page does on the wire, and nothing else of it: docs/protocols/letshare.md §1.1,
// §2.6, §2.7; its files are in files.js. Every frame that arrives is kept in `heard`, so that a test can ask for it.

import { randomBytes, sha256 } from './bytes.js';
import { Files } from './files.js';

const OPEN_MS = 10_000; // §1.1: FE's timers
const SUBSCRIBED_MS = 5_000;
const CANDIDATE_BATCH_MS = 400; // §2.6
const CHUNK_BYTES = 16 * 1024;

export class Room {
  heard = [];
  errors = [];
  closed = null;
  #peers = new Map();
  #waiting = new Set();

  constructor({ server, token, id, room, proToken }) {
    Object.assign(this, { server, token, id, room, proToken });
    this.files = new Files(this);
  }

  /** Opens the socket and joins: resolves after the first confirmation, as the frontend does. */
  async connect() {
    // §1.1: the frontend concatenates; the browser percent-encodes what is not ASCII.
    const pro = this.proToken ? `&pro_token=${encodeURIComponent(this.proToken)}` : '';
    this.socket = new WebSocket(`${this.server}?token=${this.token}&userId=${this.id}${pro}`);
    this.socket.binaryType = 'arraybuffer';
    this.socket.onmessage = ({ data }) => this.#hear(data);
    this.socket.onclose = ({ code, reason, wasClean }) => {
      this.closed = { code, reason, wasClean };
      this.wake();
    };
    await within(OPEN_MS, 'the socket did not open', (resolve, reject) => {
      this.socket.onopen = resolve;
      this.socket.onerror = () => reject(new Error('socket failed'));
    });
    await this.#join();
    addEventListener('pagehide', () => this.publish({ type: 'leave', userType: 'desktop' }));
  }

  /** §2.7: a room change on the same socket. */
  async moveTo(room) {
    this.send({ type: 'unsubscribe', channel: this.room, event: `signal:${this.id}` });
    this.send({ type: 'unsubscribe', channel: this.room, event: 'signal:all' });
    this.room = room;
    this.#peers.clear();
    await this.#join();
  }

  /** §2.6: a signal with `to` goes to `signal:<to>`, any other to everybody. */
  publish(data) {
    const event = data.to ? `signal:${data.to}` : 'signal:all';
    this.send({ type: 'publish', channel: this.room, event, data: { ...data, from: this.id } });
  }

  discover() {
    this.publish({ type: 'discover', userType: 'desktop' });
  }

  text(to, message) {
    this.publish({ type: 'text', message, to, userType: 'desktop' });
  }

  /** Waits for a signal whose data has all these fields. */
  async expect(fields) {
    const fits = ({ type, data }) =>
      type === 'message' && Object.entries(fields).every(([key, value]) => data[key] === value);
    await this.until(() => this.heard.some(fits));
    return this.heard.find(fits);
  }

  /** Waits for the end of the socket and tells how it ended. */
  async end() {
    await this.until(() => this.closed);
    return this.closed;
  }

  /** Sends `bytes` random bytes over the data channel to `to`; their SHA-256 in hex. */
  async sendBytes(to, bytes) {
    const channel = await this.#channel(to);
    const payload = randomBytes(bytes);
    channel.bufferedAmountLowThreshold = 8 * CHUNK_BYTES;
    for (let at = 0; at < bytes; at += CHUNK_BYTES) {
      if (channel.bufferedAmount > 16 * CHUNK_BYTES) {
        await new Promise((resolve) => channel.addEventListener('bufferedamountlow', resolve, { once: true }));
      }
      channel.send(payload.subarray(at, at + CHUNK_BYTES));
    }
    return sha256(payload);
  }

  /** Waits until `bytes` bytes came over the data channel from `from`; their SHA-256 in hex. */
  async receivedBytes(from, bytes) {
    await this.#channel(from);
    const peer = this.#peers.get(from);
    await this.until(() => peer.received >= bytes);
    return sha256(await new Blob(peer.chunks).arrayBuffer());
  }

  // --- joining -----------------------------------------------------------------------------

  async #join() {
    const room = this.room;
    const confirmed = this.until(
      () => this.heard.some(({ type, channel }) => type === 'subscribed' && channel === room),
      SUBSCRIBED_MS,
    );
    this.send({ type: 'subscribe', channel: room, event: `signal:${this.id}` });
    this.send({ type: 'subscribe', channel: room, event: 'signal:all' });
    // §2.3: after the first confirmation the page publishes, before the second one arrives.
    await confirmed;
    this.discover();
    this.discover();
  }

  #hear(data) {
    if (typeof data !== 'string') return this.files.frame(data);
    const frame = JSON.parse(data);
    this.heard.push(frame);
    if (frame.type.startsWith('file:transfer:')) this.files.control(frame.type.slice('file:transfer:'.length), frame.data);
    if (frame.type === 'error') this.errors.push(frame.error);
    if (frame.type === 'message' && frame.channel === this.room && frame.data.from !== this.id) {
      this.#signal(frame.data);
    }
    this.wake();
  }

  send(frame) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(frame));
  }

  // --- WebRTC ------------------------------------------------------------------------------

  async #signal(data) {
    if (data.to && data.to !== this.id) return;
    switch (data.type) {
      case 'discover':
        if (!data.isReply) this.publish({ type: 'discover', userType: 'desktop', isReply: true, to: data.from });
        // §2.6: the page whose id part after the colon sorts higher makes the offer.
        if (suffix(this.id) > suffix(data.from)) await this.#offer(data.from);
        break;
      case 'offer': {
        const peer = this.#peer(data.from);
        peer.pc.ondatachannel = ({ channel }) => this.#adopt(peer, channel);
        await peer.pc.setRemoteDescription(data.offer);
        await peer.pc.setLocalDescription(await peer.pc.createAnswer());
        this.publish({ type: 'answer', answer: peer.pc.localDescription.toJSON(), to: data.from });
        await this.#candidates(peer, []);
        break;
      }
      case 'answer': {
        const peer = this.#peer(data.from);
        await peer.pc.setRemoteDescription(data.answer);
        await this.#candidates(peer, []);
        break;
      }
      case 'candidate':
        await this.#candidates(this.#peer(data.from), data.candidates);
        break;
    }
  }

  async #offer(to) {
    if (this.#peers.has(to)) return;
    const peer = this.#peer(to);
    this.#adopt(peer, peer.pc.createDataChannel('file'));
    await peer.pc.setLocalDescription(await peer.pc.createOffer());
    this.publish({ type: 'offer', offer: peer.pc.localDescription.toJSON(), to });
  }

  #peer(id) {
    if (this.#peers.has(id)) return this.#peers.get(id);
    // No STUN: host candidates are enough on one machine, and tests speak to no other.
    const peer = { pc: new RTCPeerConnection(), early: [], chunks: [], received: 0, channel: null };
    this.#peers.set(id, peer);
    let batch = [];
    peer.pc.onicecandidate = ({ candidate }) => {
      // A test sends to this machine's loopback only, whatever interfaces it has.
      if (!candidate?.candidate || candidate.address !== '127.0.0.1') return;
      if (batch.push(candidate.toJSON()) > 1) return;
      setTimeout(() => {
        this.publish({ type: 'candidate', candidates: batch, to: id });
        batch = [];
      }, CANDIDATE_BATCH_MS);
    };
    return peer;
  }

  /** Candidates may overtake the description they belong to: they wait for it. */
  async #candidates(peer, candidates) {
    peer.early.push(...candidates);
    if (!peer.pc.remoteDescription) return;
    for (const candidate of peer.early.splice(0)) await peer.pc.addIceCandidate(candidate);
  }

  #adopt(peer, channel) {
    channel.binaryType = 'arraybuffer';
    channel.onmessage = ({ data }) => {
      peer.chunks.push(data);
      peer.received += data.byteLength;
      this.wake();
    };
    channel.onopen = () => {
      peer.channel = channel;
      this.wake();
    };
    if (channel.readyState === 'open') channel.onopen();
  }

  async #channel(id) {
    await this.until(() => this.#peers.get(id)?.channel);
    return this.#peers.get(id).channel;
  }

  // --- waiting for what happens --------------------------------------------------------------

  until(condition, limit = 15_000) {
    return within(limit, `waited in vain for ${condition}`, (resolve) => {
      const look = () => {
        if (!condition()) return;
        this.#waiting.delete(look);
        resolve();
      };
      this.#waiting.add(look);
      look();
    });
  }

  wake() {
    for (const look of this.#waiting) look();
  }
}

function within(limit, complaint, start) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`${complaint} (${limit} ms)`)), limit);
    const done = (settle) => (value) => {
      clearTimeout(timer);
      settle(value);
    };
    start(done(resolve), done(reject));
  });
}

const suffix = (id) => id.slice(id.lastIndexOf(':') + 1);

// Tests reach the page through this name.
globalThis.Room = Room;
