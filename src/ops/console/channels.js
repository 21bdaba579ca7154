// Channels: who is there, what was said, what is said now.

import { channelPath, element, fault, follow, get, page, publish, shown } from './api.js';

const SHOWN = 200;

export function channels(place, signal, name) {
  const list = element('ul', { class: 'list', 'aria-label': 'Channels' });
  const more = element('button', { type: 'button', hidden: true }, 'Next page');
  const note = element('p', { class: 'empty' });
  const prefix = element('input', { id: 'prefix', class: 'wide', placeholder: 'name begins with', 'aria-label': 'Name begins with' });
  const search = element('form', {}, prefix, element('button', {}, 'Search'));
  const detail = element('section', { 'aria-live': 'off' });
  place.append(
    element('h2', {}, 'Channels'),
    element('div', { class: 'side' }, element('section', {}, search, list, note, more), detail),
  );

  let next;
  const load = async (path) => {
    try {
      const found = await page(path);
      list.replaceChildren(...found.items.map(row));
      next = found.next;
      more.hidden = !next;
      note.textContent = list.children.length ? '' : 'No channel is open: one is there while a client is attached to it, and some minutes after a message.';
    } catch (error) {
      note.replaceChildren(fault(error));
    }
  };
  const row = ({ channelId, status }) => {
    const current = channelId === name;
    const { connections } = status.occupancy.metrics;
    return element(
      'li',
      {},
      element(
        'a',
        { href: `#/channels/${encodeURIComponent(channelId)}`, 'aria-current': current && 'true' },
        element('span', {}, channelId),
        element('span', { title: 'connections' }, String(connections)),
      ),
    );
  };
  const start = () => {
    load(`/channels?${new URLSearchParams({ by: 'value', limit: 100, prefix: prefix.value })}`);
  };
  search.addEventListener('submit', (event) => {
    event.preventDefault();
    start();
  });
  more.addEventListener('click', () => load(next));
  start();
  if (name !== undefined) show(detail, signal, name);
  else detail.append(element('p', { class: 'empty' }, 'Choose a channel, or open one by its name:'), opener());
}

function opener() {
  const name = element('input', { 'aria-label': 'Name of a channel', placeholder: 'name', required: true });
  const form = element('form', {}, name, element('button', {}, 'Open'));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    location.hash = `#/channels/${encodeURIComponent(name.value)}`;
  });
  return form;
}

function show(detail, signal, name) {
  const occupancy = element('p', { class: 'note' });
  const members = element('div');
  detail.append(
    element('h3', {}, name),
    occupancy,
    element('h3', {}, 'Publish'),
    publisher(name),
    element('h3', {}, 'Live'),
    tail(signal, name),
    element('h3', {}, 'Present'),
    members,
    element('h3', {}, 'History'),
    past(name),
  );
  const look = async () => {
    try {
      const { metrics } = (await get(channelPath(name))).status.occupancy;
      occupancy.textContent = `${metrics.connections} connections, ${metrics.publishers} may publish, ${metrics.subscribers} listen, ${metrics.presenceMembers} present`;
      const { items } = await page(`${channelPath(name)}/presence?limit=100`);
      const rows = items.map(({ clientId, connectionId, data }) =>
        element('tr', {}, element('td', {}, clientId), element('td', {}, connectionId), element('td', {}, data === undefined ? '' : shown(data))),
      );
      members.replaceChildren(rows.length ? table(['client', 'connection', 'data'], rows) : element('p', { class: 'empty' }, 'nobody'));
    } catch (error) {
      occupancy.replaceChildren(fault(error));
    }
  };
  look();
  const timer = setInterval(look, 3_000);
  signal.addEventListener('abort', () => clearInterval(timer));
}

const table = (names, rows) =>
  element('table', {}, element('thead', {}, element('tr', {}, ...names.map((name) => element('th', { scope: 'col' }, name)))), element('tbody', {}, ...rows));

/** What the number of an action says, by the event that has it. */
const ACTIONS = {
  message: ['', 'update', 'delete', 'meta', 'summary', 'append'],
  presence: ['absent', 'present', 'enter', 'leave', 'update'],
  annotation: ['create', 'delete'],
};

/** What happened, as what it is: what is about a message names it by its serial. */
function messageRow(what, { timestamp, clientId, name, data, action, annotations, serial, messageSerial, type, count, version }) {
  const operation = ACTIONS[what]?.[action] ?? '';
  const words = { presence: ['presence', operation], annotation: [operation === 'delete' ? 'annotation taken back' : 'annotation', type, name, count] };
  const kind = (words[what] ?? [operation, name]).filter(Boolean).join(' · ');
  const target = what === 'annotation' ? messageSerial : what === 'message' && operation && operation !== 'meta' && serial;
  const about = target ? element('small', { class: 'note' }, ` of ${target}`) : null;
  const text = operation === 'summary' ? shown(annotations?.summary ?? annotations ?? '') : operation === 'delete' ? '' : shown(data ?? '');
  const time = new Date(version?.timestamp ?? timestamp).toLocaleTimeString();
  const cells = [[time], [version?.clientId ?? clientId ?? ''], [kind, about], [operation === 'append' ? `+ ${text}` : text]];
  return element('tr', { class: what === 'message' ? operation || what : what }, ...cells.map((cell) => element('td', {}, ...cell)));
}
const COLUMNS = ['time', 'client', 'name', 'data'];

function tail(signal, name) {
  const filter = element('input', { placeholder: 'contains', 'aria-label': 'Show lines that contain' });
  const pause = element('button', { type: 'button', 'aria-pressed': 'false' }, 'Pause');
  const state = element('span', { class: 'note', role: 'status' }, 'attaching …');
  const body = element('tbody');
  let paused = [];
  const isPaused = () => pause.getAttribute('aria-pressed') === 'true';
  const judge = (row) => void (row.hidden = !row.textContent.includes(filter.value));
  const add = (row) => {
    judge(row);
    body.prepend(row);
    while (body.children.length > SHOWN) body.lastChild.remove();
  };
  filter.addEventListener('input', () => [...body.children].forEach(judge));
  pause.addEventListener('click', () => {
    pause.setAttribute('aria-pressed', String(!isPaused()));
    pause.textContent = isPaused() ? 'Go on' : 'Pause';
    paused.splice(0).forEach(add);
  });
  const each = (what, message) => {
    const row = messageRow(what, message);
    if (!isPaused()) return add(row);
    paused = [...paused.slice(1 - SHOWN), row];
    pause.textContent = `Go on (${paused.length} waiting)`;
  };
  const opened = () => void (state.textContent = 'attached: what is published now appears here');
  follow(name, { each, opened, signal }).catch((error) => state.replaceChildren(fault(error)));
  const rows = element('table', { class: 'tail said' }, element('thead', {}, element('tr', {}, ...COLUMNS.map((column) => element('th', { scope: 'col' }, column)))), body);
  return element('div', {}, element('form', { onsubmit: (event) => event.preventDefault() }, pause, filter, state), rows);
}

function past(name) {
  const place = element('div');
  const button = element('button', { type: 'button' }, 'Read the newest 100');
  let path = `${channelPath(name)}/messages?limit=100`;
  const body = element('tbody');
  button.addEventListener('click', async () => {
    try {
      const { items, next } = await page(path);
      body.append(...items.map((item) => messageRow('message', item)));
      if (!body.parentNode) {
        const rows = table(COLUMNS, []);
        rows.className = 'said';
        rows.querySelector('tbody').replaceWith(body);
        place.prepend(rows);
      }
      if (!body.children.length) place.prepend(element('p', { class: 'empty' }, 'nothing was kept'));
      path = next;
      button.textContent = 'Older';
      button.hidden = !next;
    } catch (error) {
      button.after(fault(error));
    }
  });
  place.append(button);
  return place;
}

function publisher(channel) {
  const name = element('input', { 'aria-label': 'Name of the message', placeholder: 'name' });
  const data = element('input', { class: 'wide', 'aria-label': 'Data of the message', placeholder: 'data' });
  const said = element('span', { class: 'note', role: 'status' });
  const form = element('form', {}, name, data, element('button', {}, 'Publish'), said);
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    try {
      await publish(channel, { ...(name.value && { name: name.value }), data: data.value });
      said.textContent = 'published';
      data.value = '';
    } catch (error) {
      said.replaceChildren(fault(error));
    }
  });
  return form;
}
