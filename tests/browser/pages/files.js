// How a LetShare 3.5.7 page moves files through the server when it has no data channel:
// docs/protocols/letshare.md §3.1 to §3.4, but for the pauses it makes after each chunk.

import { randomBytes, sha256 } from './bytes.js';

const HEADER_BYTES = 256;
const CHUNK_BYTES = 65_536;
const WINDOW_CHUNKS = 24;
const ACK_EVERY_CHUNKS = 8;
const BUFFERED_BYTES = 512 * 1024;
// §3.4
const ACCEPT_MS = 30_000;
const BUFFER_MS = 15_000;
const ACK_MS = 120_000;
const COMPLETE_MS = 180_000;

export class Files {
  #room;
  #uploads = new Map();
  #downloads = new Map();

  constructor(room) {
    this.#room = room;
  }

  /** Sends a file of random bytes; its SHA-256 once the receiver has confirmed it. Throws what the app shows. */
  async send(to, bytes) {
    const file = randomBytes(bytes);
    const id = `transfer_${Date.now()}_${Math.random().toString(36).slice(2, 9).padEnd(7, '0')}`;
    const total = Math.max(1, Math.ceil(bytes / CHUNK_BYTES));
    const upload = { accepted: false, acknowledged: 0, complete: false, failure: null };
    this.#uploads.set(id, upload);
    const described = { file_name: '照片.bin', file_size: bytes };
    this.#say('request', {
      transfer_id: id,
      ...described,
      file_type: 'application/octet-stream',
      chunk_size: CHUNK_BYTES,
      total_chunks: total,
      from_user_id: this.#room.id,
      to_user_id: to,
      room_name: this.#room.room,
      flow_control: 'receiver_ack_v1',
    });
    const until = async (condition, limit) => {
      await this.#room.until(() => upload.failure || condition(), limit);
      if (upload.failure) throw new Error(upload.failure);
    };

    await until(() => upload.accepted, ACCEPT_MS);
    this.#say('start', { transfer_id: id }, { channel: undefined });
    for (let index = 0; index < total; index++) {
      await until(() => index - upload.acknowledged < WINDOW_CHUNKS, ACK_MS);
      await this.#bufferFalls();
      const payload = file.subarray(index * CHUNK_BYTES, (index + 1) * CHUNK_BYTES);
      this.#room.socket.send(frame({ transfer_id: id, chunk_index: index, chunk_size: payload.length, total_chunks: total }, payload));
    }
    await until(() => upload.acknowledged === total, ACK_MS);
    this.#say('end', { transfer_id: id, ...described }, { channel: undefined });
    await until(() => upload.complete, COMPLETE_MS);
    return sha256(file);
  }

  /** Waits for the file that comes from `from`; its size and SHA-256. */
  async received(from) {
    const find = () => [...this.#downloads.values()].find((one) => one.from === from && one.hash);
    await this.#room.until(find, COMPLETE_MS);
    const { size, hash } = find();
    return { size, hash };
  }

  /** Waits until so many chunks came from `from`. */
  async someOf(from, chunks) {
    await this.#room.until(() => [...this.#downloads.values()].some((one) => one.from === from && one.received >= chunks));
  }

  // --- called by the room --------------------------------------------------------------------

  async control(kind, data) {
    const upload = this.#uploads.get(data.transfer_id);
    const download = this.#downloads.get(data.transfer_id);
    switch (kind) {
      case 'request':
        this.#downloads.set(data.transfer_id, {
          from: data.from_user_id,
          size: data.file_size,
          total: data.total_chunks,
          chunks: new Map(),
          received: 0,
          hash: null,
        });
        this.#say('accept', {
          transfer_id: data.transfer_id,
          flow_control: 'receiver_ack_v1',
          ack_every_chunks: ACK_EVERY_CHUNKS,
          ack_window_chunks: WINDOW_CHUNKS,
        });
        break;
      case 'accept':
        upload.accepted = true;
        break;
      case 'ack':
        upload.acknowledged = Math.max(upload.acknowledged, data.received_chunks);
        break;
      case 'complete':
        upload.complete = true;
        break;
      case 'end': {
        const parts = Array.from({ length: download.total }, (_, index) => download.chunks.get(index));
        download.hash = await sha256(await new Blob(parts).arrayBuffer());
        this.#say('complete', { transfer_id: data.transfer_id, file_size: download.size });
        break;
      }
      case 'error':
      case 'cancel':
      case 'reject':
        if (upload) upload.failure = data.error ?? kind;
        if (download) download.failure = data.error ?? kind;
        break;
      case 'progress':
        throw new Error('§3.5.8: no progress messages');
    }
    this.#room.wake();
  }

  frame(buffer) {
    // §3.2: the app cuts the header at the first zero byte.
    const padded = new Uint8Array(buffer, 0, HEADER_BYTES);
    const zero = padded.indexOf(0);
    const header = JSON.parse(new TextDecoder().decode(zero < 0 ? padded : padded.subarray(0, zero)));
    const download = this.#downloads.get(header.transfer_id);
    if (!download || download.chunks.has(header.chunk_index)) return;
    download.chunks.set(header.chunk_index, buffer.slice(HEADER_BYTES));
    const received = ++download.received;
    if (received % ACK_EVERY_CHUNKS === 0 || received === download.total) {
      this.#say('ack', {
        transfer_id: header.transfer_id,
        chunk_index: header.chunk_index,
        received_chunks: received,
        total_chunks: download.total,
        bytes_received: Math.min(received * CHUNK_BYTES, download.size),
      });
    }
    this.#room.wake();
  }

  // --- sending -------------------------------------------------------------------------------

  #say(kind, data, { channel } = { channel: this.#room.room }) {
    this.#room.send({ type: `file:transfer:${kind}`, channel, data });
  }

  /** A browser tells nobody when it has sent; the app asks, and gives up in the end. */
  async #bufferFalls() {
    for (const until = performance.now() + BUFFER_MS; this.#room.socket.bufferedAmount >= BUFFERED_BYTES; ) {
      if (performance.now() > until) throw new Error('the socket does not drain');
      await new Promise((next) => setTimeout(next, 10));
    }
  }
}

function frame(header, payload) {
  const bytes = new Uint8Array(HEADER_BYTES + payload.length);
  const { written } = new TextEncoder().encodeInto(JSON.stringify(header), bytes.subarray(0, HEADER_BYTES));
  if (bytes[written] !== 0) throw new Error('the header is too long');
  bytes.set(payload, HEADER_BYTES);
  return bytes.buffer;
}
