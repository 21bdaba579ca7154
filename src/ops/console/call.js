// One client in a LetShare room: the server introduces it to the others there, then they talk directly (docs/webrtc.md).

import { admin } from './api.js';

const EVERYBODY = 'signal:all';
/** Everybody is connected to everybody: more of them are nothing for one page. */
const OTHERS = 8;

/**
 * Joins `room` as `who`; what is in `stream` is shown to everybody there. `on` hears `state(text)`, `wire(arrow, frame)` for what
 * passes the server, `met(id, stream)`, `said(id, text)` and `left(id)`.
 */
export class Guest {
  #peers = new Map();
  #socket;

  constructor(who, room, stream, on) {
    Object.assign(this, { id: `${who}:${Math.random().toString(36).slice(2, 8)}`, who, room, stream, on });
  }

  async join() {
    const { token } = await admin('POST', 'room-token', { user: this.who, room: this.room });
    const query = new URLSearchParams({ token, userId: this.id });
    this.#socket = new WebSocket(`${location.origin.replace('http', 'ws')}/ws?${query}`);
    this.#socket.onopen = () => {
      for (const event of [`signal:${this.id}`, EVERYBODY]) this.#send({ type: 'subscribe', channel: this.room, event });
    };
    this.#socket.onmessage = ({ data }) => this.#hear(JSON.parse(data)).catch((error) => this.on.state(error.message));
    this.#socket.onclose = ({ reason }) => this.on.state(`not connected to the server ${reason}`);
    this.on.state('joining …');
  }

  #send(frame) {
    if (this.#socket.readyState !== WebSocket.OPEN) return;
    this.on.wire('→', frame);
    this.#socket.send(JSON.stringify(frame));
  }

  /** What has one receiver goes to that receiver's own event, anything else to all. */
  #signal(data) {
    this.#send({ type: 'publish', channel: this.room, event: data.to ? `signal:${data.to}` : EVERYBODY, data: { from: this.id, ...data } });
  }

  async #hear(frame) {
    this.on.wire('←', frame);
    const { type, event, data, error } = frame;
    if (type === 'error') return this.on.state(`refused: ${error.message}`);
    if (type === 'subscribed' && event === EVERYBODY) {
      this.on.state('in the room');
      return this.#signal({ type: 'hello' });
    }
    // Others may say other things in a room of this name.
    if (type !== 'message' || typeof data?.from !== 'string') return;
    const { from } = data;
    // Of two, the one with the greater id calls; the other answers a greeting, so that it is known.
    if (data.type === 'hello') return this.id > from ? this.#peer(from, true) : data.to || this.#signal({ type: 'hello', to: from });
    if (!['offer', 'answer', 'candidate'].includes(data.type)) return;
    const connection = this.#peer(from, false);
    if (data.type === 'candidate') return connection.addIceCandidate(data.candidate);
    await connection.setRemoteDescription(data.description);
    if (data.type === 'answer') return;
    await connection.setLocalDescription();
    this.#signal({ type: 'answer', to: from, description: connection.localDescription });
  }

  #peer(id, isCaller) {
    if (this.#peers.has(id)) return this.#peers.get(id).connection;
    if (this.#peers.size >= OTHERS) throw new Error(`${id} is not called: this page calls ${OTHERS} others at most`);
    // Between networks a STUN or TURN server is needed.
    const connection = new RTCPeerConnection({ iceServers: [] });
    const channel = connection.createDataChannel('chat', { negotiated: true, id: 0 });
    this.#peers.set(id, { connection, channel });
    for (const track of this.stream.getTracks()) connection.addTrack(track, this.stream);
    channel.onopen = () => this.on.state(`directly connected to ${id}`);
    channel.onmessage = ({ data }) => this.on.said(id, String(data));
    channel.onclose = () => this.#forget(id);
    connection.ontrack = ({ streams }) => this.on.met(id, streams[0]);
    connection.onconnectionstatechange = () => {
      if (connection.connectionState === 'failed') {
        this.on.state(`found no direct way to ${id}: between networks a TURN server is needed`);
        this.#forget(id);
      }
    };
    connection.onicecandidate = ({ candidate }) => candidate && this.#signal({ type: 'candidate', to: id, candidate });
    if (isCaller) {
      connection.onnegotiationneeded = async () => {
        await connection.setLocalDescription();
        this.#signal({ type: 'offer', to: id, description: connection.localDescription });
      };
    }
    return connection;
  }

  #forget(id) {
    this.#peers.get(id)?.connection.close();
    if (this.#peers.delete(id)) this.on.left(id);
  }

  /** To all who are directly connected: the server sees nothing of it. */
  say(text) {
    for (const { channel } of this.#peers.values()) if (channel.readyState === 'open') channel.send(text);
  }

  /** Shows another picture to all. */
  async show(track) {
    const senders = [...this.#peers.values()].flatMap(({ connection }) => connection.getSenders());
    await Promise.all(senders.filter((sender) => sender.track?.kind === 'video').map((sender) => sender.replaceTrack(track)));
  }

  leave() {
    if (this.#socket) this.#socket.onclose = null;
    for (const id of [...this.#peers.keys()]) this.#forget(id);
    this.#socket?.close();
  }
}

/** A picture that moves, for whoever has no camera or does not lend it. */
export function drawing(who, hue) {
  const canvas = Object.assign(document.createElement('canvas'), { width: 320, height: 180 });
  const pen = canvas.getContext('2d');
  const draw = () => {
    const turn = performance.now() / 700;
    pen.fillStyle = `hsl(${hue} 45% 25%)`;
    pen.fillRect(0, 0, 320, 180);
    pen.fillStyle = `hsl(${hue} 75% 65%)`;
    pen.beginPath();
    pen.arc(160 + 110 * Math.cos(turn), 90 + 50 * Math.sin(turn * 2), 22, 0, 7);
    pen.fill();
    pen.fillStyle = '#fff';
    pen.font = '600 20px system-ui, sans-serif';
    pen.textAlign = 'center';
    pen.fillText(`${who}, ${new Date().toLocaleTimeString()}`, 160, 97);
  };
  draw();
  const timer = setInterval(draw, 100);
  const stream = canvas.captureStream(10);
  return {
    stream,
    stop() {
      clearInterval(timer);
      for (const track of stream.getTracks()) track.stop();
    },
  };
}
