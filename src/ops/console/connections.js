// Connections: who is there, by which SDK, and what waits for them; ending one, and keeping a client out.

import { admin, element, fault } from './api.js';
import { age } from './plots.js';

const EVERY_MS = 3_000;
const COLUMNS = ['client', 'protocol', 'SDK', 'address', 'age', 'channels', 'waiting', 'frames out', ''];

/** A button that acts when it is pressed twice: what it does cannot be taken back. */
function twice(label, act) {
  const button = element('button', { type: 'button' }, label);
  let isArmed = false;
  button.addEventListener('click', () => {
    if (isArmed) return act();
    isArmed = true;
    button.textContent = `${label}: sure?`;
  });
  button.addEventListener('blur', () => {
    isArmed = false;
    button.textContent = label;
  });
  return button;
}

export function connections(place, signal) {
  const field = (name, label) => element('input', { name, placeholder: label, 'aria-label': label });
  const protocol = element('select', { name: 'protocol', 'aria-label': 'Protocol' }, element('option', { value: '' }, 'every protocol'));
  for (const name of ['Ably', 'Ably events', 'LetShare', 'relay', 'chat', 'group', 'postoffice']) protocol.append(element('option', { value: name }, name));
  const filter = element('form', {}, field('clientId', 'Client'), protocol, field('address', 'Address'), field('app', 'App'), element('button', {}, 'Show'));
  const body = element('tbody');
  const note = element('p', { class: 'note', role: 'status' }, 'asking …');
  const first = element('button', { type: 'button', hidden: true }, 'First page');
  const onward = element('button', { type: 'button', hidden: true }, 'Next page');
  const head = element('tr', {}, ...COLUMNS.map((column) => element('th', { scope: 'col' }, column || element('span', { class: 'unseen' }, 'actions'))));
  place.append(
    element('h2', {}, 'Connections'),
    filter,
    note,
    element('div', { class: 'wide-table', tabindex: 0, role: 'region', 'aria-label': 'Connections' }, element('table', { class: 'connections' }, element('thead', {}, head), body)),
    element('p', {}, first, ' ', onward),
  );

  let after;
  let next;
  let last = new Map();
  const say = (...what) => note.replaceChildren(...what);
  const done = async (asked, tell) => {
    try {
      say(tell(await asked));
      document.activeElement?.blur();
      await load(true);
    } catch (error) {
      say(fault(error));
    }
  };
  const block = ({ app, clientId }) =>
    done(admin('POST', 'block', { app, clientId }), ({ ended, keys, caveat }) => {
      const open = keys.filter(({ revoked }) => !revoked).map(({ key }) => key);
      const rest = open.length ? ` Tokens of ${open.join(', ')} cannot be revoked: with one of them, or with the key, it can come back.` : '';
      return `${clientId}: ${ended} connections ended, tokens of ${keys.length - open.length} keys revoked.${rest} Note: ${caveat}.`;
    });
  const row = (one) => {
    const { id, clientId, framesSent } = one;
    const before = last.get(id);
    const pace = before === undefined ? '…' : `${((framesSent - before) / (EVERY_MS / 1_000)).toFixed(1)}/s`;
    const cells = [clientId ?? '–', one.protocol, one.agent, one.address, age(one.ageSeconds), one.channels.join(', ') || String(one.attachments), `${one.bytesWaiting} B`, pace];
    const actions = [
      twice('Disconnect', () => done(admin('DELETE', `connections/${id}`), () => `${clientId ?? one.connectionId}: ended; it may come back`)),
      clientId && twice('Block', () => block(one)),
    ];
    const title = `connection ${one.connectionId} of ${one.app}`;
    return element('tr', { title, 'data-id': id }, ...cells.map((cell) => element('td', {}, cell)), element('td', {}, ...actions.filter(Boolean)));
  };
  const load = async (isQuiet) => {
    // What somebody is about to press stays where it is.
    if (isQuiet && body.contains(document.activeElement)) return;
    const asked = [...new FormData(filter)].filter(([, value]) => value);
    if (after !== undefined) asked.push(['after', after]);
    try {
      const page = await admin('GET', `connections?${new URLSearchParams(asked)}`);
      if (signal.aborted) return;
      body.replaceChildren(...page.items.map(row));
      last = new Map(page.items.map(({ id, framesSent }) => [id, framesSent]));
      next = page.next;
      onward.hidden = next === null;
      first.hidden = after === undefined;
      if (!isQuiet) say(page.items.length ? `${page.items.length} shown${next === null ? '' : ', and there are more'}` : 'No connection is like that.');
    } catch (error) {
      say(fault(error));
    }
  };
  const turn = (to) => {
    after = to;
    last = new Map();
    load();
  };
  filter.addEventListener('submit', (event) => {
    event.preventDefault();
    turn(undefined);
  });
  first.addEventListener('click', () => turn(undefined));
  onward.addEventListener('click', () => turn(next));
  load();
  const timer = setInterval(() => load(true), EVERY_MS);
  signal.addEventListener('abort', () => clearInterval(timer));
}
