/** Latents z ~ N(0, 1): one for every whole number, and a smooth walk that passes through them in turn. */

import { normal } from "./random.js";

/**
 * The latent at a place of the walk. At a whole number it is that number's own latent; between n and n + 1 the two are mixed by
 * cosine and sine. The squares of the two weights add up to 1, so that every latent on the way is as likely as any other.
 * @param {number} place 0 or more
 * @param {number} length numbers in a latent
 * @returns {Float32Array}
 */
export function latentAt(place, length) {
  const n = Math.floor(place);
  const here = normal(n, length);
  if (n === place) return here;
  const next = normal(n + 1, length);
  const passed = place - n;
  const angle = (Math.PI / 2) * passed * passed * (3 - 2 * passed); // slow at the latents, so that the walk has no corners
  return here.map((value, i) => Math.cos(angle) * value + Math.sin(angle) * next[i]);
}
