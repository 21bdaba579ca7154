// What the server does now: small plots of the last ten minutes, what is kept, who is turned away, which servers there are.

import { admin, element, fault, metrics } from './api.js';
import { age, bytes, count, line, perSecond, plot, time } from './plots.js';

const EVERY_MS = 2_000;
const MOMENTS = 300;
/** The servers of a cluster ask each other for this. */
const NODES_EVERY_MS = 10_000;

const total = (now, name) => [...now].reduce((sum, [key, value]) => (key.split('{')[0] === name ? sum + value : sum), 0);
const gain = (now, before, name) => Math.max(0, total(now, name) - total(before, name));
const rate = (name) => (now, before, seconds) => gain(now, before, name) / seconds;
const level = (name) => (now) => total(now, name);
/** What one of many took on the average: none, nothing. */
const each = (sum, many) => (now, before) => gain(now, before, sum) / (gain(now, before, many) || 1);

/** Title, figure, unit, what it is, and the metric without which there is no such plot. */
const PLOTS = [
  ['Connections', level('letshare_open_connections'), count, 'WebSockets, and what is in their place, open now'],
  ['Channels', level('letshare_active_channels'), count, 'channels that are open here'],
  ['Messages in', rate('letshare_received_messages_total'), perSecond, 'frames that clients send'],
  ['Published', rate('letshare_published_messages_total'), perSecond, 'messages that channels take'],
  ['Delivered', rate('letshare_sent_messages_total'), perSecond, 'frames that are sent to clients'],
  ['Bytes out', rate('letshare_sent_bytes_total'), (value) => `${bytes(value)}/s`, 'bytes of these frames'],
  ['Publish latency', level('letshare_worker_round_trip_seconds'), time, 'a question to the slowest worker thread and its answer, once a second: what a publish waits for beside the disk and Redis'],
  ['Commit to disk', each('letshare_store_commit_seconds_total', 'letshare_store_commits_total'), time, 'what a transaction in the data file takes: publishes to persisted channels wait for one', 'letshare_store_commits_total'],
  ['Redis round trip', level('letshare_cluster_round_trip_seconds'), time, 'what Redis takes for one small write: every publish of a cluster waits for one', 'letshare_cluster_round_trip_seconds'],
  ['Append', each('letshare_cluster_append_seconds_total', 'letshare_cluster_appends_total'), time, 'what an append to the log of a channel takes, from asking Redis to its answer', 'letshare_cluster_appends_total'],
  ['Processors in use', rate('letshare_process_cpu_seconds_total'), (value) => value.toFixed(2), 'processor time for each second'],
  ['Memory', level('letshare_process_resident_memory_bytes'), bytes, 'of the whole process'],
  ['Kept for clients', level('letshare_kept_bytes'), bytes, 'what is charged to the accounts of clients, apps and networks'],
  ['Turned away', rate('letshare_refused_requests_total'), perSecond, 'connections and requests that were refused'],
];

/** Tables with a plot in each row: title, metric, label, its unit, what is plotted and in what unit. */
const TABLES = [
  ['Kept for clients, by kind', 'letshare_kept_bytes', 'kind', bytes, (now) => now],
  ['Turned away since the start, by reason', 'letshare_refused_requests_total', 'reason', count, (now, before) => now - before],
];

/** The values of a metric by a label. */
const labelled = (now, name, label) =>
  new Map([...now].filter(([key]) => key.startsWith(`${name}{`)).map(([key, value]) => [new RegExp(`${label}="([^"]*)"`).exec(key)?.[1] ?? key, value]));

// Kept while other parts are looked at, so that ten minutes are there when somebody comes back.
const history = [];
let before;

async function look() {
  const now = await metrics();
  const at = performance.now();
  if (before) {
    const seconds = (at - before.at) / 1_000;
    const rows = TABLES.map(([, name, label, , figure]) => {
      const earlier = labelled(before.now, name, label);
      return new Map([...labelled(now, name, label)].map(([what, value]) => [what, figure(value, earlier.get(what) ?? 0)]));
    });
    history.push({ figures: PLOTS.map(([, figure]) => figure(now, before.now, seconds)), rows });
    if (history.length > MOMENTS) history.shift();
  }
  before = { now, at };
  return now;
}

/** The rows of a table, the largest first; those that are 0 say nothing. Lines stay while their row does. */
function table([title, name, label, unit], index) {
  const body = element('tbody');
  const lines = new Map();
  const draw = (now) => {
    const found = [...labelled(now, name, label)].filter(([, value]) => value > 0).sort(([, a], [, b]) => b - a);
    const rows = found.map(([what, value]) => {
      if (!lines.has(what)) lines.set(what, line({ class: 'spark', 'aria-hidden': 'true' }));
      const { svg, draw } = lines.get(what);
      if (history.length) draw(history.map(({ rows }) => rows[index].get(what) ?? 0));
      return element('tr', {}, element('td', {}, what.replaceAll('_', ' ')), element('td', {}, svg), element('td', { class: 'number' }, unit(value)));
    });
    body.replaceChildren(...(rows.length ? rows : [element('tr', {}, element('td', { class: 'empty' }, 'nothing'))]));
  };
  return { part: element('section', {}, element('h3', {}, title), element('table', { class: 'sparks' }, body)), draw };
}

/** This server, and the others of its cluster, as the admin API tells of them. */
function servers(signal) {
  const place = element('div');
  const show = async () => {
    try {
      const [node, { items }] = await Promise.all([admin('GET', 'node'), admin('GET', 'nodes')]);
      const ports = node.ports.map(({ address, protocols, isEncrypted }) => `${address}${isEncrypted ? ' (TLS)' : ''}: ${protocols}`);
      const facts = [
        ['version', node.version],
        ['mode', node.mode || '–'],
        ['up for', age(node.uptimeSeconds)],
        ['state', node.ready ? 'takes clients' : (node.whyNotReady ?? 'is about to end')],
        ['worker threads', node.workerThreads],
        ['ports', ports.join('\n')],
      ];
      const told = element('dl', { class: 'facts' }, ...facts.flatMap(([what, value]) => [element('dt', {}, what), element('dd', {}, String(value))]));
      place.replaceChildren(told, ...(items.length > 1 || items[0].id ? [cluster(items)] : []));
    } catch (error) {
      place.replaceChildren(fault(error));
    }
  };
  show();
  const timer = setInterval(show, NODES_EVERY_MS);
  signal.addEventListener('abort', () => clearInterval(timer));
  return place;
}

function cluster(items) {
  const head = ['server', 'state', 'connections', 'channels', 'up for', 'version'];
  const rows = items.map((one) => {
    const state = one.version === null ? 'does not answer' : one.ready ? 'takes clients' : 'not ready';
    const cells = [one.isThis ? `${one.id} (this)` : one.id, state, one.connections, one.channels, one.uptimeSeconds === null ? null : age(one.uptimeSeconds), one.version];
    return element('tr', {}, ...cells.map((cell) => element('td', {}, String(cell ?? '–'))));
  });
  const names = element('tr', {}, ...head.map((name) => element('th', { scope: 'col' }, name)));
  const table = element('table', { class: 'plain' }, element('thead', {}, names), element('tbody', {}, ...rows));
  return element('section', {}, element('h3', {}, `Cluster: ${items.length} servers hold a lease`), element('div', { class: 'wide-table', tabindex: 0, role: 'region', 'aria-label': 'Servers' }, table));
}

export function overview(place, signal) {
  const plots = PLOTS.map(([title, , unit, about]) => plot(title, unit, about));
  const tables = TABLES.map(table);
  const since = element('p', { class: 'note', role: 'status' }, 'asking /metrics …');
  place.append(
    element('h2', {}, 'Overview'),
    since,
    element('div', { class: 'plots' }, ...plots.map(({ figure }) => figure)),
    element('div', { class: 'two' }, ...tables.map(({ part }) => part)),
    element('h3', {}, 'This server'),
    servers(signal),
  );
  const show = async () => {
    try {
      const now = await look();
      plots.forEach(({ figure, draw }, index) => {
        const needs = PLOTS[index][4];
        figure.hidden = needs !== undefined && !now.has(needs);
        draw(history.map(({ figures }) => figures[index]));
      });
      tables.forEach(({ draw }) => draw(now));
      const told = `${total(now, 'letshare_open_descriptors')} of ${total(now, 'letshare_allowed_descriptors')} files open`;
      const isUnused = !total(now, 'letshare_opened_connections_total') && !total(now, 'letshare_published_messages_total');
      since.replaceChildren(...(isUnused ? ['Nobody has connected yet. ', element('a', { href: '#/try' }, 'Try it')] : [`The last ten minutes, every two seconds; ${told}.`]));
    } catch (error) {
      since.replaceChildren(fault(error));
    }
  };
  show();
  const timer = setInterval(show, EVERY_MS);
  signal.addEventListener('abort', () => clearInterval(timer));
}
