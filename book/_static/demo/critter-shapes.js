/**
 * The outlines of a Critter's face, as in kdlib/critters_drawing.py, in face coordinates: the origin is the middle of the head, one
 * unit is the head's radius, x points to the picture's right and y down.
 *
 * @typedef {[number, number]} Point
 */

/**
 * An ellipse as 48 points.
 * @param {Point} centre
 * @param {Point} radii
 * @param {number} slant degrees by which its axes are turned clockwise
 * @returns {Point[]}
 */
export function ellipse([x, y], [a, b], slant = 0) {
  const turn = (slant * Math.PI) / 180;
  const [cos, sin] = [Math.cos(turn), Math.sin(turn)];
  return Array.from({ length: 48 }, (_, i) => {
    const angle = (2 * Math.PI * i) / 48;
    const [u, v] = [a * Math.cos(angle), b * Math.sin(angle)];
    return [x + cos * u - sin * v, y + sin * u + cos * v];
  });
}

/** @param {Point[]} points @returns {Point[]} */
export const mirrored = (points) => points.map(([x, y]) => [-x, y]);

/** A closed Catmull-Rom spline through the points, eight samples between two of them. @param {Point[]} points @returns {Point[]} */
function closedCurve(points) {
  const at = (i) => points[(i + points.length) % points.length];
  const curve = [];
  for (let i = 0; i < points.length; i++) {
    const [p0, p1, p2, p3] = [at(i - 1), at(i), at(i + 1), at(i + 2)];
    for (let j = 0; j < 8; j++) {
      const t = j / 8;
      const spline = (k) =>
        (2 * p1[k] +
          (p2[k] - p0[k]) * t +
          (2 * p0[k] - 5 * p1[k] + 4 * p2[k] - p3[k]) * t ** 2 +
          (3 * p1[k] - p0[k] - 3 * p2[k] + p3[k]) * t ** 3) /
        2;
      curve.push([spline(0), spline(1)]);
    }
  }
  return curve;
}

/** A closed curve from its right half, which runs from the middle of the top to the middle of the bottom. @param {Point[]} right */
const symmetricCurve = (right) => closedCurve([...right, ...mirrored(right.slice(1, -1)).reverse()]);

/** A pointed ear: two bowed sides that meet in the tip. @returns {Point[]} */
function ear(inner, tip, outer, bulge) {
  const middle = [(inner[0] + outer[0]) / 2, (inner[1] + outer[1]) / 2];
  const side = (start, end) => {
    const chord = [(start[0] + end[0]) / 2, (start[1] + end[1]) / 2];
    const away = [chord[0] - middle[0], chord[1] - middle[1]];
    const length = Math.hypot(...away);
    const bend = chord.map((c, k) => c + (bulge * away[k]) / length);
    return Array.from({ length: 12 }, (_, i) => {
      const t = i / 11;
      return [0, 1].map((k) => (1 - t) ** 2 * start[k] + 2 * t * (1 - t) * bend[k] + t ** 2 * end[k]);
    });
  };
  return [...side(inner, tip), ...side(tip, outer)];
}

/** The shape scaled about a point. @returns {Point[]} */
const shrunk = (points, factor, towards) => points.map((p) => p.map((c, k) => towards[k] + factor * (c - towards[k])));

const catEar = ear([0.16, -0.7], [0.8, -1.42], [1.0, -0.18], 0.1);
const foxEar = ear([0.12, -0.6], [0.82, -1.58], [1.02, -0.05], 0.1);

/** The fixed outlines; names ending in Right are the right one of a pair. */
export const SHAPES = {
  catHead: symmetricCurve([[0, -0.8], [0.45, -0.8], [0.86, -0.5], [1.05, 0], [1.1, 0.38], [0.84, 0.66], [0.45, 0.87], [0, 0.92]]),
  catEarRight: catEar,
  catEarInsideRight: shrunk(catEar, 0.6, [0.64, -0.62]),
  catCrown: ear([-0.11, -0.82], [0, -0.26], [0.11, -0.82], 0.02),
  catCrownRight: ear([0.24, -0.84], [0.27, -0.42], [0.44, -0.8], 0.02),
  catCheekHighRight: ear([1.1, 0.06], [0.7, 0.26], [1.14, 0.24], 0.02),
  catCheekLowRight: ear([1.08, 0.4], [0.66, 0.44], [0.98, 0.58], 0.02),
  catMuzzleRight: ellipse([0.19, 0.5], [0.29, 0.24]),
  dogHead: symmetricCurve([[0, -0.92], [0.5, -0.86], [0.82, -0.52], [0.88, 0], [0.8, 0.45], [0.62, 0.84], [0.3, 1.02], [0, 1.05]]),
  dogEarRight: closedCurve([
    [0.42, -0.9], [0.86, -0.94], [1.2, -0.52], [1.38, 0.15], [1.26, 0.66], [0.98, 0.62], [0.84, 0.1], [0.74, -0.42],
  ]),
  dogMuzzle: symmetricCurve([[0, 0.02], [0.32, 0.1], [0.58, 0.42], [0.56, 0.78], [0.28, 1.0], [0, 1.03]]),
  dogPatchRight: closedCurve([
    [0.14, -0.86], [0.52, -0.84], [0.78, -0.5], [0.85, -0.06], [0.7, 0.22], [0.4, 0.16], [0.15, -0.16], [0.1, -0.5],
  ]),
  foxHead: symmetricCurve([
    [0, -0.74], [0.42, -0.74], [0.8, -0.42], [1.0, 0.02], [1.28, 0.4], [0.84, 0.62], [0.46, 0.84], [0.2, 1.1], [0, 1.15],
  ]),
  foxEarRight: foxEar,
  foxEarInsideRight: shrunk(foxEar, 0.6, [0.66, -0.6]),
  foxEarTipRight: shrunk(foxEar, 0.45, [0.82, -1.58]),
  foxCheekRight: closedCurve([
    [0.02, 1.12], [0.06, 0.86], [0.2, 0.52], [0.46, 0.3], [0.84, 0.28], [1.24, 0.39], [0.82, 0.6], [0.44, 0.82], [0.18, 1.07],
  ]),
  foxMaskRight: closedCurve([[0.08, 0.5], [0.12, 0.02], [0.36, -0.34], [0.82, -0.38], [0.86, 0.02], [0.46, 0.32], [0.2, 0.54]]),
};

/** What differs between the species' eyes and mouths, in head radii (slant in degrees). */
export const ANATOMY = {
  cat: {
    eyeCentre: [0.44, -0.08], eyeRadii: [0.29, 0.3], eyeSlant: 0, pupilRadii: [0.1, 0.22], pupilTravel: 0.17,
    noseCentre: [0, 0.33], noseRadii: [0.11, 0.08], mouthTop: 0.46, mouthHalfWidth: 0.26, mouthDepth: 0.5,
  },
  dog: {
    eyeCentre: [0.37, -0.25], eyeRadii: [0.25, 0.27], eyeSlant: 0, pupilRadii: [0.13, 0.14], pupilTravel: 0.12,
    noseCentre: [0, 0.22], noseRadii: [0.24, 0.16], mouthTop: 0.54, mouthHalfWidth: 0.32, mouthDepth: 0.56,
  },
  fox: {
    eyeCentre: [0.44, -0.02], eyeRadii: [0.3, 0.22], eyeSlant: 16, pupilRadii: [0.11, 0.18], pupilTravel: 0.16,
    noseCentre: [0, 0.6], noseRadii: [0.15, 0.11], mouthTop: 0.77, mouthHalfWidth: 0.22, mouthDepth: 0.46,
  },
};
