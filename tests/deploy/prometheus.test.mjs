// Prometheus' own judgement of the alerts, and each query of alerts and dashboard against a Prometheus that scrapes the
// real server.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { freePort, startServer } from '../browser/server.mjs';
import { adapt, deployed, eventually, folder, run } from './programs.mjs';

let server, prometheus, data, api;
before(async () => {
  server = await startServer({ origins: ['http://localhost:3000'] });
  data = await folder();
  const port = await freePort();
  await adapt('prometheus/prometheus.yml', data.file('prometheus.yml'), [
    ['127.0.0.1:8080', `127.0.0.1:${server.port}`],
    ['15s', '1s'],
    ['alerts.yml', deployed('prometheus/alerts.yml')],
  ]);
  const flags = [
    `--config.file=${data.file('prometheus.yml')}`,
    `--storage.tsdb.path=${data.file('tsdb')}`,
    `--web.listen-address=127.0.0.1:${port}`,
  ];
  prometheus = run('prometheus', flags);
  api = `http://127.0.0.1:${port}/api/v1`;
});
after(async () => {
  await prometheus?.stop();
  await server?.stop();
  await data?.remove();
});

async function query(text) {
  const answer = await fetch(`${api}/query?${new URLSearchParams({ query: text })}`);
  const page = await answer.json();
  assert.equal(page.status, 'success', `${text}: ${page.error}`);
  return page.data.result;
}

/** Something of everything, so that the counters count. */
async function load() {
  const key = await server.key();
  const headers = { Authorization: `Basic ${btoa(key)}`, 'Content-Type': 'application/json' };
  const body = JSON.stringify({ name: 'n', data: 'd' });
  await Promise.all(
    Array.from({ length: 20 }, (_, n) => fetch(`${server.http}/channels/c${n}/messages`, { method: 'POST', headers, body })),
  );
}

test('promtool accepts the rules, and each alert is quiet and fires', async () => {
  const tool = (...args) => promisify(execFile)('promtool', args, { cwd: deployed('prometheus') });
  await tool('check', 'config', 'prometheus.yml');
  await tool('check', 'rules', 'alerts.yml');
  await tool('test', 'rules', 'alerts_test.yml');
  const [rules, tests] = await Promise.all(
    ['alerts.yml', 'alerts_test.yml'].map((name) => readFile(deployed(`prometheus/${name}`), 'utf8')),
  );
  const alerts = [...rules.matchAll(/- alert: (\w+)/g)].map(([, name]) => name);
  assert.ok(alerts.length >= 12);
  for (const name of alerts) assert.ok(tests.includes(`alertname: ${name}\n`), `${name} has no test`);
});

test('each alert knows the metrics of a running server, and none fires', async () => {
  await eventually('two scrapes', async () => (await query('count_over_time(letshare_uptime_seconds[1m]) >= 2')).length);
  const answer = await (await fetch(`${api}/rules`)).json();
  const rules = answer.data.groups.flatMap((group) => group.rules);
  assert.ok(rules.length >= 12);
  for (const rule of rules) {
    // That of the certificate is there with TLS only.
    const names = rule.query.match(/letshare_\w+/g)?.filter((name) => name !== 'letshare_certificate_days') ?? [];
    for (const name of names) assert.ok((await query(name)).length, `${rule.name}: the server has no ${name}`);
    assert.notEqual(rule.health, 'err', `${rule.name}: ${rule.lastError}`);
    assert.equal(rule.state, 'inactive', rule.name);
  }
});

test('each panel of the dashboard shows something', async () => {
  const dashboard = JSON.parse(await readFile(deployed('grafana/letshare.json'), 'utf8'));
  assert.ok(dashboard.panels.length >= 12);
  await load();
  for (const { title, targets } of dashboard.panels) {
    const queries = targets.map(({ expr }) => expr.replaceAll('$instance', '.*').replaceAll('$__rate_interval', '10s'));
    await eventually(`the panel ${title}`, async () => (await Promise.all(queries.map(query))).some((found) => found.length));
  }
});
