// Two panes that talk to each other, with the code of what just happened beside them.

import { element, fault, follow, publish } from './api.js';

export function attempt(place, signal) {
  const channel = 'demo';
  const code = element('code', {}, 'Write something in one of the two panes.');
  place.append(
    element('h2', {}, 'Try it'),
    element('p', { class: 'note' }, `Two clients on the channel ${channel}. Open this page on another machine, or run the code below: they meet.`),
    element('div', { class: 'two' }, ...['Alice', 'Bob'].map((who) => pane(who, channel, signal, code))),
    element('h3', {}, 'What just happened, with an Ably SDK'),
    element('pre', { tabindex: 0 }, code),
  );
}

const program = (channel, name, data) => `import * as Ably from 'ably';

const client = new Ably.Realtime({ key, endpoint: '${location.hostname}', ${location.protocol === 'https:' ? `tlsPort: ${location.port || 443}` : `port: ${location.port || 80}, tls: false`} });
const channel = client.channels.get('${channel}');
await channel.subscribe((message) => console.log(message.name, message.data));
await channel.publish(${JSON.stringify(name)}, ${JSON.stringify(data)});`;

function pane(who, channel, signal, code) {
  const log = element('ul', { class: 'log', 'aria-label': `What ${who} sees`, tabindex: 0 });
  const text = element('input', { class: 'wide', 'aria-label': `What ${who} says`, required: true });
  const state = element('span', { class: 'note', role: 'status' }, 'attaching …');
  const form = element('form', {}, text, element('button', {}, 'Send'));
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    const said = text.value;
    text.value = '';
    try {
      await publish(channel, { name: who, data: said });
      code.textContent = program(channel, who, said);
    } catch (error) {
      state.replaceChildren(fault(error));
    }
  });
  const each = (what, { name, data }) => {
    if (what !== 'message') return;
    log.append(element('li', {}, `${name ?? 'somebody'}: ${typeof data === 'string' ? data : JSON.stringify(data)}`));
    log.lastChild.scrollIntoView({ block: 'nearest' });
    while (log.children.length > 100) log.firstChild.remove();
  };
  follow(channel, { each, opened: () => void (state.textContent = 'attached'), signal }).catch((error) => state.replaceChildren(fault(error)));
  return element('section', { class: 'pane' }, element('h3', {}, who), log, form, state);
}
