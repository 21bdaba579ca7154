// systemd's own judgement of the unit.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { adapt, folder } from './programs.mjs';

test('systemd-analyze verifies the unit and finds it hardened', async () => {
  const files = await folder();
  try {
    await writeFile(files.file('letshare-server'), '#!/bin/sh\n');
    await chmod(files.file('letshare-server'), 0o755);
    await mkdir(files.file('units'));
    const unit = `${files.path}/units/letshare-server.service`;
    await adapt('systemd/letshare-server.service', unit, [
      ['ExecStart=/usr/local/bin/letshare-server', `ExecStart=${files.file('letshare-server')}`],
    ]);
    const analyze = (...args) => promisify(execFile)('systemd-analyze', args);
    const { stdout, stderr } = await analyze('verify', '--man=no', unit);
    assert.equal(stdout + stderr, '');
    // From 0, safe, to 10, exposed.
    await analyze('security', '--offline=true', '--threshold=20', unit);
  } finally {
    await files.remove();
  }
});
