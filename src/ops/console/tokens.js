// What a key or token says, and what the server says of it. The server is asked, so its answer is the true one.

import { channelPath, element, get, page, shown } from './api.js';

/** What can be tried without leaving a trace. */
const CHECKS = [
  ['read the history of the channel', 'history', (channel, credential) => page(`${channelPath(channel)}/messages?limit=1`, { credential })],
  ['see who is present', 'presence or subscribe', (channel, credential) => page(`${channelPath(channel)}/presence?limit=1`, { credential })],
  ['see how many are there', 'channel-metadata', (channel, credential) => get(channelPath(channel), { credential })],
  ['list all channels', 'channel-metadata on *', (_, credential) => page('/channels?limit=1', { credential })],
  ['read statistics', 'statistics on *', (_, credential) => page('/stats?limit=1', { credential })],
];

function part(text) {
  try {
    const bytes = Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (char) => char.charCodeAt(0));
    const read = JSON.parse(new TextDecoder().decode(bytes));
    return typeof read === 'object' && read;
  } catch {
    return null;
  }
}

const moment = (seconds) => `${new Date(seconds * 1_000).toLocaleString()} (${seconds * 1_000 < Date.now() ? 'past' : 'to come'})`;

/** What can be told without asking anybody: pairs of a word and a text. */
export function explain(text) {
  if (!text) return [];
  const dots = text.split('.');
  if (text.includes(':')) {
    const [name] = text.split(':');
    return [['kind', 'Ably key'], ['app', name.split('.')[0]], ['name of the key', name]];
  }
  const [header, claims] = dots.length === 3 ? dots.slice(0, 2).map(part) : [];
  if (header && claims) {
    const isAblys = 'kid' in header;
    const told = [['kind', isAblys ? `JWT for Ably, signed with the key ${header.kid}` : 'JWT of LetShare or an older protocol']];
    for (const [name, value] of Object.entries(claims)) {
      told.push([name, ['exp', 'iat', 'nbf'].includes(name) ? moment(value) : shown(value)]);
    }
    if (!isAblys) told.push(['note', "this is no credential for Ably's interface; `letshare-server token inspect` judges it"]);
    return told;
  }
  if (dots.length === 2) return [['kind', 'Ably token'], ['app', dots[0]]];
  if (/^[0-9a-f]{64}$/.test(text)) return [['kind', "LetShare's static token"], ['note', "it is no credential for Ably's interface"]];
  return [['kind', 'unknown: neither <app>.<key>:<secret>, nor an Ably token, nor a JWT']];
}

export function tokens(place, signal, initial) {
  const text = element('textarea', { id: 'token', spellcheck: 'false', autocomplete: 'off' });
  const channel = element('input', { id: 'channel', value: initial ?? 'demo' });
  const told = element('tbody');
  const verdicts = element('tbody');
  const form = element('form', {}, element('label', { for: 'channel' }, 'Channel'), channel, element('button', {}, 'Ask the server'));
  place.append(
    element('h2', {}, 'Tokens'),
    element('p', {}, element('label', { for: 'token' }, 'Paste a key, an Ably token or a JWT. It is sent to this server and nowhere else.')),
    text,
    form,
    element('h3', {}, 'What it says'),
    element('table', {}, told),
    element('h3', {}, 'What it may'),
    element('table', { class: 'verdicts' }, verdicts),
  );
  const pasted = () => text.value.trim().replace(/^Bearer\s+/, '');
  text.addEventListener('input', () => {
    told.replaceChildren(
      ...explain(pasted()).map(([what, value]) => element('tr', {}, element('th', { scope: 'row' }, what), element('td', {}, value))),
    );
    verdicts.replaceChildren();
  });
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    const [credential, name] = [pasted(), channel.value];
    if (!credential) return;
    const rows = CHECKS.map(async ([what, needs, ask]) => {
      const verdict = await ask(name, credential).then(
        () => ['yes', ''],
        (error) => ['no', error.code ? `${error.message} (code ${error.code})` : error.message],
      );
      return element('tr', {}, ...[what, `needs ${needs}`, ...verdict].map((cell) => element('td', {}, cell)));
    });
    verdicts.replaceChildren(...(await Promise.all(rows)));
  });
}
