/**
 * What varies from one Critter to another: the factors, their ranges and the colours they stand for. The same as in kdlib/critters.py,
 * where the data set that the networks were trained on is made.
 *
 * @typedef {Object} Critter
 * @property {string} species one of SPECIES
 * @property {number} x middle of the head, as a fraction of the picture's width
 * @property {number} y the same of its height, from the upper edge
 * @property {number} size radius of the head, as a fraction of the picture's width
 * @property {number} tilt degrees, clockwise
 * @property {number} gaze -1 looks to the picture's left, 1 to its right
 * @property {number} mouth 0 closed, 1 wide open
 * @property {number} fur_hue degrees
 * @property {number} fur_lightness in [0, 1], as in HSL; so are the other two
 * @property {number} markings 0 none, 1 full contrast
 * @property {number} eye_hue
 * @property {number} eye_lightness
 * @property {number} background_hue
 * @property {number} background_lightness
 *
 * @typedef {[number, number, number]} Colour red, green, blue in [0, 1]
 */

export const SPECIES = ["cat", "dog", "fox"];

export const CONTENT_RANGES = {
  x: [0.38, 0.62],
  y: [0.46, 0.62],
  size: [0.23, 0.31],
  tilt: [-30, 30],
  gaze: [-1, 1],
  mouth: [0, 1],
};

/** Hues may be negative, so that a range can run through red. */
export const STYLE_RANGES = {
  cat: { fur_hue: [-150, 50], fur_lightness: [0.4, 0.82], eye_hue: [45, 215] },
  dog: { fur_hue: [-30, 70], fur_lightness: [0.34, 0.86], eye_hue: [20, 200] },
  fox: { fur_hue: [-50, 45], fur_lightness: [0.42, 0.72], eye_hue: [30, 180] },
};

export const SHARED_STYLE_RANGES = {
  markings: [0, 1],
  eye_lightness: [0.48, 0.7],
  background_hue: [0, 360],
  background_lightness: [0.45, 0.88],
};

/**
 * Every factor's range for a species.
 * @param {string} species
 * @returns {Record<string, [number, number]>}
 */
export function rangesOf(species) {
  return { ...CONTENT_RANGES, ...STYLE_RANGES[species], ...SHARED_STYLE_RANGES };
}

/**
 * A Critter with every factor drawn uniformly from its range.
 * @param {string} species
 * @param {() => number} random uniform in [0, 1)
 * @returns {Critter}
 */
export function sampleCritter(species, random) {
  const critter = { species };
  for (const [name, [low, high]] of Object.entries(rangesOf(species))) critter[name] = low + (high - low) * random();
  return critter;
}

/**
 * The same pose and, as far as the other species has them, the same colours.
 * @param {Critter} critter
 * @param {string} species
 * @returns {Critter}
 */
export function asSpecies(critter, species) {
  const changed = { ...critter, species };
  for (const [name, [low, high]] of Object.entries(rangesOf(species))) changed[name] = Math.min(high, Math.max(low, critter[name]));
  return changed;
}

/** The coat's colour: warm hues are saturated, cold ones nearly grey. @returns {Colour} */
export function furColour({ fur_hue, fur_lightness }) {
  const warmth = 0.5 + 0.5 * Math.cos(((fur_hue - 28) * Math.PI) / 180);
  return fromHsl(fur_hue, fur_lightness, 0.14 + 0.6 * warmth);
}

/** The iris's colour. @returns {Colour} */
export function eyeColour({ eye_hue, eye_lightness }) {
  return fromHsl(eye_hue, eye_lightness, 0.75);
}

/** The colour of the upper half of the background. @returns {Colour} */
export function backgroundColour({ background_hue, background_lightness }) {
  return fromHsl(background_hue, background_lightness, 0.5);
}

/**
 * HSL to RGB, rounded to 8 bits.
 * @param {number} hue degrees, any turn
 * @param {number} lightness
 * @param {number} saturation
 * @returns {Colour}
 */
function fromHsl(hue, lightness, saturation) {
  const chroma = saturation * Math.min(lightness, 1 - lightness);
  const channel = (offset) => {
    const k = (((offset + hue / 30) % 12) + 12) % 12;
    return Math.round(255 * (lightness - chroma * Math.max(-1, Math.min(k - 3, 9 - k, 1)))) / 255;
  };
  return [channel(0), channel(8), channel(4)];
}
