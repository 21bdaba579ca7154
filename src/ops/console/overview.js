// What the server does now: small plots of the last ten minutes, what is kept, who is turned away.

import { element, fault, metrics } from './api.js';

const EVERY_MS = 2_000;
const MOMENTS = 300;
const SI = ['', 'k', 'M', 'G', 'T'];
const BINARY = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

function scaled(value, step, units, digits) {
  let unit = 0;
  for (; value >= step && unit < units.length - 1; unit += 1) value /= step;
  return `${value.toFixed(value < 10 && (unit || digits) ? 1 : 0)} ${units[unit]}`.trim();
}
const count = (value) => scaled(value, 1_000, SI, 0);
const perSecond = (value) => `${scaled(value, 1_000, SI, 1)}/s`;
const bytes = (value) => scaled(value, 1_024, BINARY, 0);

const total = (now, name) => [...now].reduce((sum, [key, value]) => (key.split('{')[0] === name ? sum + value : sum), 0);
const rate = (name) => (now, before, seconds) => Math.max(0, (total(now, name) - total(before, name)) / seconds);
const level = (name) => (now) => total(now, name);

const PLOTS = [
  ['Connections', level('letshare_open_connections'), count],
  ['Channels', level('letshare_active_channels'), count],
  ['Messages in', rate('letshare_received_messages_total'), perSecond],
  ['Published', rate('letshare_published_messages_total'), perSecond],
  ['Delivered', rate('letshare_sent_messages_total'), perSecond],
  ['Bytes out', rate('letshare_sent_bytes_total'), (value) => `${bytes(value)}/s`],
  ['Processors in use', rate('letshare_process_cpu_seconds_total'), (value) => value.toFixed(2)],
  ['Memory', level('letshare_process_resident_memory_bytes'), bytes],
  ['Kept for clients', level('letshare_kept_bytes'), bytes],
  ['Turned away', rate('letshare_refused_requests_total'), perSecond],
];

// Kept while other parts are looked at, so that ten minutes are there when somebody comes back.
const history = [];
let before;

async function look() {
  const now = await metrics();
  const at = performance.now();
  if (before) {
    const seconds = (at - before.at) / 1_000;
    history.push(PLOTS.map(([, figure]) => figure(now, before.now, seconds)));
    if (history.length > MOMENTS) history.shift();
  }
  before = { now, at };
  return now;
}

function plot([title, , unit], index) {
  const value = element('strong', {}, '…');
  const path = document.createElementNS('http://www.w3.org/2000/svg', 'path');
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('preserveAspectRatio', 'none');
  svg.setAttribute('role', 'img');
  svg.setAttribute('aria-label', `${title}: no figure yet`);
  svg.append(path);
  const figure = element('figure', {}, element('figcaption', {}, element('span', {}, title), value), svg);
  const draw = () => {
    const values = history.map((moment) => moment[index]);
    if (!values.length) return;
    const top = Math.max(...values) || 1;
    // Two minutes at first, then as much as there is.
    const width = Math.max(values.length, 60) - 1;
    const from = width + 1 - values.length;
    svg.setAttribute('viewBox', `0 0 ${width} 100`);
    path.setAttribute('d', values.map((y, x) => `${x ? 'L' : 'M'}${from + x} ${98 - (y / top) * 94}`).join(''));
    value.textContent = unit(values.at(-1));
    svg.setAttribute('aria-label', `${title}: now ${unit(values.at(-1))}, at most ${unit(top)} in the last ten minutes`);
  };
  return { figure, draw };
}

/** The rows of a metric with a label, the largest first; those that are 0 say nothing. */
function rows(now, name, label, unit) {
  const found = [...now]
    .filter(([key, value]) => key.startsWith(`${name}{`) && value > 0)
    .map(([key, value]) => [new RegExp(`${label}="([^"]*)"`).exec(key)?.[1] ?? key, value])
    .sort(([, a], [, b]) => b - a);
  if (!found.length) return [element('tr', {}, element('td', { colspan: 2, class: 'empty' }, 'nothing'))];
  return found.map(([what, value]) =>
    element('tr', {}, element('td', {}, what.replaceAll('_', ' ')), element('td', { class: 'number' }, unit(value))),
  );
}

export function overview(place, signal) {
  const plots = PLOTS.map(plot);
  const [kept, refused] = [element('tbody'), element('tbody')];
  const since = element('p', { class: 'note' }, 'asking /metrics …');
  const table = (title, body) => element('section', {}, element('h3', {}, title), element('table', {}, body));
  place.append(
    element('h2', {}, 'Overview'),
    since,
    element('div', { class: 'plots' }, ...plots.map(({ figure }) => figure)),
    element('div', { class: 'two' }, table('Kept for clients, by kind', kept), table('Turned away since the start, by reason', refused)),
  );
  const show = async () => {
    try {
      const now = await look();
      plots.forEach(({ draw }) => draw());
      kept.replaceChildren(...rows(now, 'letshare_kept_bytes', 'kind', bytes));
      refused.replaceChildren(...rows(now, 'letshare_refused_requests_total', 'reason', count));
      since.textContent = `running for ${Math.round(total(now, 'letshare_uptime_seconds'))} s, ${total(now, 'letshare_open_descriptors')} of ${total(now, 'letshare_allowed_descriptors')} files open`;
    } catch (error) {
      since.replaceChildren(fault(error));
    }
  };
  show();
  const timer = setInterval(show, EVERY_MS);
  signal.addEventListener('abort', () => clearInterval(timer));
}
