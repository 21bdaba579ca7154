// The password of the admin API (console.password), where there is one.

import { admin, element, fault } from './api.js';

export function login(place, signal, back) {
  const password = element('input', { id: 'password', type: 'password', autocomplete: 'current-password', required: true });
  const said = element('p', { class: 'note', role: 'status' });
  const form = element('form', {}, element('label', { for: 'password' }, 'Password'), password, element('button', {}, 'Log in'));
  const out = element('button', { type: 'button' }, 'Log out');
  place.append(
    element('h2', {}, 'Log in'),
    element('p', {}, 'The password is console.password of the settings. It opens connections, blocking and figures here, and a token to look at channels with.'),
    form,
    said,
    element('p', {}, out),
  );
  password.focus();
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    try {
      await admin('POST', 'login', { password: password.value });
      location.hash = `#/${back || 'connections'}`;
    } catch (error) {
      said.replaceChildren(error.status === 401 ? element('span', { class: 'fault', role: 'alert' }, 'wrong password') : fault(error));
      password.select();
    }
  });
  out.addEventListener('click', () => admin('POST', 'logout').then(() => (said.textContent = 'logged out'), (error) => said.replaceChildren(fault(error))));
}
