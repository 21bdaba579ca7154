// Programs that stand in front of the server or look at it: Debian's own, with the files of deploy/, on free ports of
// loopback; each ended by its pid.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

// Where Debian has servers; not everybody's PATH does.
process.env.PATH += ':/usr/sbin';

export const PATIENCE_MS = 20_000;

/** A file of deploy/. */
export const deployed = (path) => fileURLToPath(new URL(`../../deploy/${path}`, import.meta.url));

export async function folder() {
  const path = await mkdtemp(join(tmpdir(), 'letshare-deploy-'));
  return { path, file: (name) => join(path, name), remove: () => rm(path, { recursive: true, force: true }) };
}

/**
 * Copies a file of deploy/ to `target`, with what an operator would change in it changed. Each change must meet something:
 * a file that no longer has what is changed is not the one that is tested.
 */
export async function adapt(path, target, changes) {
  let text = await readFile(deployed(path), 'utf8');
  for (const [before, after] of changes) {
    if (!text.includes(before)) throw new Error(`deploy/${path} has no ${JSON.stringify(before)}`);
    text = text.replaceAll(before, after);
  }
  await writeFile(target, text);
}

/** Waits until `condition` gives something; what it throws counts as nothing. */
export async function eventually(what, condition) {
  let last;
  for (const until = Date.now() + PATIENCE_MS; Date.now() < until; ) {
    const found = await Promise.resolve()
      .then(condition)
      .catch((error) => void (last = error));
    if (found) return found;
    await new Promise((next) => setTimeout(next, 100));
  }
  throw new Error(`not within ${PATIENCE_MS} ms: ${what}`, { cause: last });
}

/** Runs a program until `stop`. */
export function run(command, args, options = {}) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
  let output = '';
  child.stdout.on('data', (chunk) => (output += chunk));
  child.stderr.on('data', (chunk) => (output += chunk));
  const exited = once(child, 'exit');
  return {
    output: () => output,
    async stop() {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM');
      const late = setTimeout(() => child.kill('SIGKILL'), 5_000);
      await exited;
      clearTimeout(late);
    },
  };
}
