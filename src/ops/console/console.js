// The frame around the parts: which one is shown, and with whose key.

import { credentials } from './api.js';
import { channels } from './channels.js';
import { connections } from './connections.js';
import { login } from './login.js';
import { overview } from './overview.js';
import { tokens } from './tokens.js';
import { attempt } from './try.js';

const PARTS = { overview, connections, channels, tokens, try: attempt, login };

// The link that the server prints has the key behind the #, which browsers keep to themselves. It does not stay there.
const given = /^#key=(.+)$/.exec(location.hash)?.[1];
if (given) {
  credentials.use(decodeURIComponent(given));
  // Whoever follows it has just started the server.
  history.replaceState(null, '', '#/try');
}

const place = document.getElementById('part');
let leave = new AbortController();

function show() {
  const [, name = 'overview', argument] = location.hash.split('/');
  const part = PARTS[name] ?? overview;
  leave.abort();
  leave = new AbortController();
  for (const link of document.querySelectorAll('nav a')) {
    if (link.hash === `#/${name}`) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  document.getElementById('whose').textContent = credentials.key ? credentials.key.split(':')[0] : 'the app shared';
  place.replaceChildren();
  part(place, leave.signal, argument === undefined ? undefined : decodeURIComponent(argument));
}

document.getElementById('access').addEventListener('submit', (event) => {
  event.preventDefault();
  const field = document.getElementById('key');
  credentials.use(field.value);
  field.value = '';
  show();
});
addEventListener('hashchange', show);
show();
