/** Random numbers that are a function of a seed alone, so that a number names a critter or a latent on every machine. */

/**
 * Uniform numbers in [0, 1): the 32-bit generator "mulberry32".
 * @param {number} seed whole number
 * @returns {() => number}
 */
export function uniform(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/**
 * `length` numbers ~ N(0, 1), by Box and Muller.
 * @param {number} seed whole number
 * @param {number} length
 * @returns {Float32Array}
 */
export function normal(seed, length) {
  const random = uniform(seed);
  const values = new Float32Array(length);
  for (let i = 0; i < length; i += 2) {
    const radius = Math.sqrt(-2 * Math.log(1 - random())); // 1 - random() is never 0
    const angle = 2 * Math.PI * random();
    values[i] = radius * Math.cos(angle);
    if (i + 1 < length) values[i + 1] = radius * Math.sin(angle);
  }
  return values;
}

/** A seed that nobody chose. @returns {number} */
export function freshSeed() {
  return crypto.getRandomValues(new Uint32Array(1))[0];
}
