// What the console asks of the server: the admin API; Ably's REST interface and its event stream, with the key of whoever looks on,
// or with a token that the admin API gives.

let key = sessionStorage.getItem('key') ?? '';

export const credentials = {
  get key() {
    return key;
  },
  use(text) {
    key = text.trim();
    sessionStorage.setItem('key', key);
  },
};

/** The server said no: its own words and code, of which each names what to do. */
export class Refused extends Error {
  constructor(status, body) {
    const { message, code } = body?.error ?? {};
    super(message ?? `the server answered ${status}`);
    this.status = status;
    this.code = code;
  }
}

function headers(credential) {
  const bytes = new TextEncoder().encode(credential);
  const text = btoa(String.fromCharCode(...bytes));
  // A key has a colon behind its name, a token has none.
  return { 'X-Ably-Version': '5', Authorization: credential.includes(':') ? `Basic ${text}` : `Bearer ${credential}` };
}

/** Asks the admin API. */
export async function admin(method, path, body) {
  const options = body && { headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) };
  const answer = await fetch(`/admin/api/${path}`, { method, ...options });
  const said = await answer.json().catch(() => null);
  if (answer.ok) return said;
  const refused = new Refused(answer.status, said);
  refused.needsLogin = answer.status === 401;
  throw refused;
}

/** A token for the app `shared`, for whoever has given no key. It lasts an hour. */
let own;
async function token() {
  own ??= admin('POST', 'token', {});
  try {
    return (await own).token;
  } catch (error) {
    own = undefined;
    if (error.needsLogin) throw error;
    throw new Error(`give a key first, above; the server prints one when it starts with MODE=local (${error.message})`);
  }
}

async function send(path, { credential = key, ...options } = {}, isAgain = false) {
  const shown = credential || (await token());
  const answer = await fetch(path, { ...options, headers: { ...headers(shown), ...options.headers } });
  if (answer.ok) return answer;
  if (answer.status === 401 && !credential && !isAgain) {
    own = undefined;
    return send(path, options, true);
  }
  throw new Refused(answer.status, await answer.json().catch(() => null));
}

/** A page of a list, and the address of the next one. */
export async function page(path, options) {
  const answer = await send(path, options);
  const next = /<([^>]+)>; rel="next"/.exec(answer.headers.get('link') ?? '')?.[1];
  return { items: await answer.json(), next: next && new URL(next, new URL(path, location.href)).href };
}

export const get = async (path, options) => (await send(path, options)).json();

export const channelPath = (name) => `/channels/${encodeURIComponent(name)}`;

export const publish = (channel, message) =>
  send(`${channelPath(channel)}/messages`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(message),
  });

/** The figures of /metrics: name with labels to number. */
export async function metrics() {
  const answer = await fetch('/metrics', { headers: { Accept: 'text/plain' } });
  if (!answer.ok) throw new Error(`/metrics answered ${answer.status}: it is for this machine and the networks of server.metrics_from`);
  const lines = (await answer.text()).split('\n').filter((line) => line && !line.startsWith('#'));
  return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]));
}

/**
 * Follows a channel until `signal` aborts: `each(event, data)` for each message, presence event and annotation, `opened()` once it
 * is attached. A stream that breaks is taken up where it was.
 */
export async function follow(channel, { each, opened, signal }) {
  let place;
  // Annotations come to who asks for them; a name with a qualifier of its own is left as it is.
  const asked = channel.startsWith('[') ? channel : `[?modes=subscribe,presence_subscribe,annotation_subscribe]${channel}`;
  for (let wait = 500; !signal.aborted; wait = Math.min(wait * 2, 10_000)) {
    try {
      const query = new URLSearchParams({ channels: asked, separator: '\n', v: '1.2' });
      const answer = await send(`/sse?${query}`, { signal, headers: place ? { 'Last-Event-ID': place } : {} });
      let event = {};
      for await (const line of lines(answer.body)) {
        if (line === '') {
          if (event.id) place = event.id;
          if (event.data === undefined) opened?.();
          else if (event.event === 'error') throw new Refused(0, { error: JSON.parse(event.data) });
          else each(event.event, JSON.parse(event.data));
          event = {};
        } else {
          const [, name, value] = /^(\w*): ?(.*)$/s.exec(line) ?? [];
          if (name) event[name] = value;
          wait = 500;
        }
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Refused && error.status >= 400 && error.status < 500) throw error;
    }
    await new Promise((next) => setTimeout(next, wait));
  }
}

async function* lines(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split('\n');
    rest = parts.pop();
    yield* parts;
  }
}

/** What clients say may hold anything: nothing of it hides, or changes the order in which the rest is read. */
export const visible = (text) => text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g, '\ufffd');

/** Makes an element; texts are texts, never HTML. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, '');
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  const shown = children.filter((child) => child != null);
  made.append(...shown.map((child) => (typeof child === 'string' ? visible(child) : child)));
  return made;
}

export const fault = (error) => {
  if (error.needsLogin) {
    const here = location.hash.slice(2);
    return element('p', { class: 'fault', role: 'alert' }, 'This needs the password: ', element('a', { href: `#/login/${encodeURIComponent(here)}` }, 'log in'));
  }
  return element('p', { class: 'fault', role: 'alert' }, error.code ? `${error.message} (code ${error.code})` : error.message);
};

export const shown = (data) => (typeof data === 'string' ? data : JSON.stringify(data));
