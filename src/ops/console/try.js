// Two clients that chat over Ably's protocol, and two that call each other through a LetShare room; beside each the code of it.

import { element, fault, follow, publish, visible } from './api.js';
import { Guest, drawing } from './call.js';

const CHANNEL = 'demo';
const ROOM = 'demo-call';
const WIRE_LINES = 60;

export function attempt(place, signal) {
  place.append(element('h2', {}, 'Try it'), chat(signal), call(signal));
}

/** What somebody does, and beside it what a program would have to say. */
const beside = (title, note, doing, ...shown) =>
  element('section', {}, element('h3', {}, title), element('p', { class: 'note' }, note), element('div', { class: 'beside' }, doing, element('div', { class: 'code' }, ...shown)));

// --- Ably

function chat(signal) {
  const code = element('code', {}, program('Alice', 'hello'));
  const panes = element('div', { class: 'two' }, ...['Alice', 'Bob'].map((who) => pane(who, signal, code)));
  return beside(
    "Messages, over Ably's protocol",
    `Two clients on the channel ${CHANNEL}. Open this page on another machine, or run the code: they meet.`,
    panes,
    element('h4', {}, 'What just happened, with an Ably SDK'),
    element('pre', { tabindex: 0 }, code),
  );
}

const options = location.protocol === 'https:' ? `tlsPort: ${location.port || 443}` : `port: ${location.port || 80}, tls: false`;
const program = (name, data) => `import * as Ably from 'ably';

const client = new Ably.Realtime({
  key, endpoint: '${location.hostname}', ${options},
});
const channel = client.channels.get('${CHANNEL}');
await channel.subscribe(({ name, data }) => {
  console.log(name, data);
});
await channel.publish(${JSON.stringify(name)}, ${JSON.stringify(data)});`;

/** A list of lines that keeps the newest hundred. */
function log(label) {
  const list = element('ul', { class: 'log', 'aria-label': label, tabindex: 0 });
  const add = (line) => {
    list.append(element('li', {}, line));
    while (list.children.length > 100) list.firstChild.remove();
    list.scrollTop = list.scrollHeight;
  };
  return { list, add };
}

/** A line to write, which is handed to `say`. */
function sayer(label, say) {
  const text = element('input', { class: 'wide', 'aria-label': label, placeholder: 'say something', required: true, autocomplete: 'off' });
  const form = element('form', {}, text, element('button', {}, 'Send'));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    const said = text.value;
    text.value = '';
    say(said);
  });
  return form;
}

function pane(who, signal, code) {
  const { list, add } = log(`What ${who} sees`);
  const state = element('span', { class: 'note', role: 'status' }, 'attaching …');
  const say = async (said) => {
    try {
      await publish(CHANNEL, { name: who, data: said });
      code.textContent = visible(program(who, said));
    } catch (error) {
      state.replaceChildren(fault(error));
    }
  };
  const each = (what, { name, data }) => {
    if (what === 'message') add(`${name ?? 'somebody'}: ${typeof data === 'string' ? data : JSON.stringify(data)}`);
  };
  follow(CHANNEL, { each, opened: () => void (state.textContent = 'attached'), signal }).catch((error) => state.replaceChildren(fault(error)));
  return element('section', { class: 'pane' }, element('h4', {}, who), list, sayer(`What ${who} says`, say), state);
}

// --- LetShare

const CALL = `const socket = new WebSocket(
  '${location.origin.replace('http', 'ws')}/ws?token=…&userId=' + me);
const signal = (data) => socket.send(JSON.stringify({
  type: 'publish', channel: '${ROOM}',
  event: 'signal:' + other, data,
}));

const peer = new RTCPeerConnection();
for (const track of stream.getTracks()) {
  peer.addTrack(track, stream);
}
peer.ontrack = ({ streams }) => {
  video.srcObject = streams[0];
};
peer.onicecandidate = ({ candidate }) =>
  signal({ type: 'candidate', candidate });
await peer.setLocalDescription();
const description = peer.localDescription;
signal({ type: 'offer', description });`;

/** A frame in a few words: descriptions and candidates are long, and nobody reads them here. */
const inWords = ({ type, event, data, error }) => [type, event, data?.type ?? error?.message].filter(Boolean).join(' ');

function call(signal) {
  const wire = element('code', {}, 'Nothing yet.');
  const lines = [];
  const note = (who) => (arrow, frame) => {
    lines.push(`${who} ${arrow} ${inWords(frame)}`);
    if (lines.length > WIRE_LINES) lines.shift();
    wire.textContent = visible(lines.join('\n'));
    wire.parentNode.scrollTop = wire.parentNode.scrollHeight;
  };
  const callers = [['alice', 210], ['bob', 20]].map(([who, hue]) => caller(who, hue, note(who)));
  const begin = element('button', { type: 'button' }, 'Call');
  const end = element('button', { type: 'button', hidden: true }, 'Hang up');
  const camera = element('button', { type: 'button', hidden: true }, 'Use the camera for Alice');
  const said = element('span', { class: 'note', role: 'status' });
  const hangUp = () => {
    callers.forEach(({ stop }) => stop());
    [begin.hidden, end.hidden, camera.hidden] = [false, true, true];
  };
  begin.addEventListener('click', async () => {
    [begin.hidden, end.hidden, camera.hidden] = [true, false, false];
    said.textContent = '';
    try {
      for (const { start } of callers) await start();
    } catch (error) {
      hangUp();
      said.replaceChildren(fault(error));
    }
  });
  end.addEventListener('click', hangUp);
  camera.addEventListener('click', async () => {
    try {
      if (!navigator.mediaDevices) throw new Error('a browser lends its camera to pages of https and of localhost only');
      const lent = await navigator.mediaDevices.getUserMedia({ video: true });
      await callers[0].show(lent);
      camera.hidden = true;
    } catch (error) {
      said.replaceChildren(fault(error));
    }
  });
  signal.addEventListener('abort', hangUp);
  const doing = element('div', {}, element('form', { onsubmit: (event) => event.preventDefault() }, begin, end, camera, said), element('div', { class: 'two' }, ...callers.map(({ pane }) => pane)));
  return beside(
    'A call, through a LetShare room',
    `Two clients in the room ${ROOM}: the server introduces them, then picture and text go from browser to browser. Call from another machine, too: it joins.`,
    doing,
    element('h4', {}, 'What passed the server'),
    element('pre', { class: 'wire', tabindex: 0, 'aria-label': 'What passed the server' }, wire),
    element('h4', {}, 'The program'),
    element('pre', { tabindex: 0 }, element('code', {}, CALL)),
  );
}

function caller(who, hue, wire) {
  const name = who[0].toUpperCase() + who.slice(1);
  const pictures = element('div', { class: 'pictures' });
  const { list, add } = log(`What ${name} hears in the call`);
  const state = element('span', { class: 'note', role: 'status' }, 'not in the room');
  const videos = new Map();
  let own, guest, lent;
  const drop = (id) => {
    videos.get(id)?.remove();
    videos.delete(id);
  };
  const on = {
    state: (text) => void (state.textContent = visible(text)),
    wire,
    met(id, stream) {
      drop(id);
      const video = element('video', { autoplay: true, playsinline: true, 'aria-label': `What ${name} sees of ${id}` });
      Object.assign(video, { muted: true, srcObject: stream });
      videos.set(id, video);
      pictures.append(video);
    },
    said: (id, text) => add(`${id.split(':')[0]}: ${text}`),
    left: drop,
  };
  const say = (text) => {
    guest?.say(text);
    add(`${who}: ${text}`);
  };
  return {
    pane: element('section', { class: 'pane' }, element('h4', {}, name), pictures, list, sayer(`In the call ${name} says`, say), state),
    start() {
      own = drawing(name, hue);
      guest = new Guest(who, ROOM, own.stream, on);
      return guest.join();
    },
    /** Shows what a camera sees in the place of the drawing, also to whoever comes later. */
    show(stream) {
      lent = stream;
      guest.stream = stream;
      return guest.show(stream.getVideoTracks()[0]);
    },
    stop() {
      guest?.leave();
      own?.stop();
      for (const track of lent?.getTracks() ?? []) track.stop();
      [own, guest, lent] = [];
      state.textContent = 'not in the room';
    },
  };
}
