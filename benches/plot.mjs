// Draws docs/images/delivery.svg from the first table of docs/measured.md, which is what `cargo bench --bench load` prints.
//
//   node benches/plot.mjs            writes the picture
//   node benches/plot.mjs --check    exit code 1 when the picture is not that of the table

import { readFileSync, writeFileSync } from 'node:fs';

const page = new URL('../docs/measured.md', import.meta.url);
const picture = new URL('../docs/images/delivery.svg', import.meta.url);

/** `| fan-out to 50, saturated | 0.45 | 0.52 | **1.16** | …` */
const ROW = /^\| fan-out to (\d+), saturated \| ([\d.]+) \| ([\d.]+) \| \*\*([\d.]+)\*\*/gm;
/** `| memory of an idle subscribed connection, at 10,000 | 17.5 KiB | 20 KiB |` */
const MEMORY = /^\| memory of an idle subscribed connection[^|]*\| ([\d.]+) KiB \| ([\d.]+) KiB \|/m;

function read() {
  const text = readFileSync(page, 'utf8');
  const first = text.slice(0, text.indexOf('**Ably beside LetShare**'));
  const rows = [...first.matchAll(ROW)].map(([, members, floor, server, ratio]) => ({ members, floor: +floor, server: +server, ratio }));
  const [, memory, goal] = text.match(MEMORY);
  if (rows.length < 5) throw new Error(`${rows.length} rows in docs/measured.md`);
  return { rows, memory: +memory, goal: +goal };
}

const WIDTH = 760;
const HEIGHT = 300;
const BASE = 240;
const TOP = 60;

function draw({ rows, memory, goal }) {
  const most = Math.max(...rows.map(({ server }) => server));
  const height = (value) => ((BASE - TOP) * value) / most;
  const parts = [];
  const text = (x, y, words, more = '') => parts.push(`<text x="${x}" y="${y}" ${more}>${words}</text>`);
  const bar = (x, value, kind, tall = height(value)) => {
    parts.push(`<rect class="${kind}" x="${x}" y="${(BASE - tall).toFixed(1)}" width="30" height="${tall.toFixed(1)}"/>`);
    text(x + 15, (BASE - tall - 5).toFixed(1), value, 'text-anchor="middle"');
  };

  text(20, 24, 'CPU of one delivered message, µs, saturated', 'class="title"');
  rows.forEach(({ members, floor, server, ratio }, at) => {
    const x = 30 + at * 105;
    bar(x, floor, 'floor');
    bar(x + 34, server, 'server');
    text(x + 32, BASE + 18, `to ${members}`, 'text-anchor="middle"');
    text(x + 32, BASE + 34, `× ${ratio}`, 'text-anchor="middle" class="quiet"');
  });
  const x = 30 + rows.length * 105 + 50;
  text(x - 10, 24, 'memory, KiB', 'class="title"');
  const tall = (value) => ((BASE - TOP) * value) / Math.max(memory, goal);
  bar(x, goal, 'floor', tall(goal));
  bar(x + 34, memory, 'server', tall(memory));
  text(x + 32, BASE + 18, 'a connection', 'text-anchor="middle"');
  text(x + 32, BASE + 34, 'goal, measured', 'text-anchor="middle" class="quiet"');
  parts.push(`<rect class="floor" x="30" y="${HEIGHT - 16}" width="10" height="10"/>`);
  text(46, HEIGHT - 7, 'a bare epoll server that copies frames');
  parts.push(`<rect class="server" x="290" y="${HEIGHT - 16}" width="10" height="10"/>`);
  text(306, HEIGHT - 7, 'letshare-server');

  const style =
    'text{font:12px system-ui,sans-serif;fill:#222}.title{font-weight:600}.quiet{fill:#666}.floor{fill:#b8c0cc}.server{fill:#2f6fdb}' +
    '@media(prefers-color-scheme:dark){text{fill:#ddd}.quiet{fill:#999}.floor{fill:#5b6675}.server{fill:#6ea0ff}}';
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="CPU of one delivered message beside a bare server, and memory of a connection">
<style>${style}</style>
${parts.join('\n')}
</svg>
`;
}

const wanted = draw(read());
if (process.argv.includes('--check')) {
  if (readFileSync(picture, 'utf8') !== wanted) {
    console.error('docs/images/delivery.svg is not that of docs/measured.md: node benches/plot.mjs');
    process.exit(1);
  }
} else {
  writeFileSync(picture, wanted);
}
