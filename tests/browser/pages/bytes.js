// What files in tests are made of, and how two of them are compared.

export function randomBytes(count) {
  const bytes = new Uint8Array(count);
  // getRandomValues fills at most 64 KiB at a time.
  for (let at = 0; at < count; at += 65_536) crypto.getRandomValues(bytes.subarray(at, at + 65_536));
  return bytes;
}

/** In hex. */
export async function sha256(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
