// Seeded chance: a test tells its seed, and the seed draws the same lots again. What falls to which
// connection depends on the machine, too, as it does with anything that is run on real sockets.

/** The seed of this run: LETSHARE_SEED, else a new one. */
export const seed = Number(process.env.LETSHARE_SEED ?? Math.floor(Math.random() * 2 ** 31));

/** A source of chance (mulberry32). */
export class Chance {
  #state;

  constructor(state) {
    this.#state = state >>> 0;
  }

  /** An integer of `from` to `to`, both included. */
  between(from, to) {
    return from + Math.floor(this.#unit() * (to - from + 1));
  }

  /** The same, but small ones are as likely as great ones. */
  magnitude(from, to) {
    return Math.round(from * (to / from) ** this.#unit());
  }

  pick(list) {
    return list[this.between(0, list.length - 1)];
  }

  /** At least 0, less than 1. */
  #unit() {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }
}
