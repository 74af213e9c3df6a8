/**
 * Draws a Critter as kdlib/critters_drawing.py does: flat shapes, painted large on a canvas and averaged down. The two differ only in
 * how Pillow and a browser treat the pixels on a shape's border.
 *
 * @typedef {import("./critter-factors.js").Critter} Critter
 * @typedef {import("./critter-factors.js").Colour} Colour
 * @typedef {import("./critter-shapes.js").Point} Point
 */

import { backgroundColour, eyeColour, furColour } from "./critter-factors.js";
import { ANATOMY, SHAPES, ellipse, mirrored } from "./critter-shapes.js";

const INK = [0.13, 0.09, 0.11];
const WHITE = [0.98, 0.96, 0.93];
const PINK = [0.95, 0.62, 0.62];
const THROAT = [0.42, 0.08, 0.12];
const TONGUE = [0.93, 0.45, 0.47];
const LINE = 0.07; // outline width, in head radii
const BORDER = 1; // samples: Pillow fills the samples on a shape's border whole, a canvas by half

const mix = (first, second, amount) => first.map((c, k) => c + (second[k] - c) * amount);
const css = (colour) => `rgb(${colour.map((c) => Math.round(255 * c)).join(" ")})`;

/** The canvas that all critters are painted on; kept in memory, since every picture is read back. */
const sheet = typeof document === "undefined" ? null : document.createElement("canvas").getContext("2d", { willReadFrequently: true });

/** Paints polygons given in face coordinates on a picture `scale` times larger than the one asked for. */
class Painter {
  constructor(critter, imageSize) {
    this.imageSize = imageSize;
    this.scale = Math.max(4, Math.ceil(256 / imageSize));
    this.side = imageSize * this.scale;
    if (sheet.canvas.width !== this.side) sheet.canvas.width = sheet.canvas.height = this.side;
    sheet.lineJoin = "round";
    this.unit = critter.size * this.side;
    this.origin = [critter.x * this.side, critter.y * this.side];
    const turn = (critter.tilt * Math.PI) / 180;
    [this.cos, this.sin] = [Math.cos(turn) * this.unit, Math.sin(turn) * this.unit];
    this.#background(backgroundColour(critter));
  }

  /** Exactly `colour` in the upper half, down to 82 % of it at the lower edge. */
  #background(colour) {
    for (let row = 0; row < this.side; row++) {
      const fade = 1 - 0.18 * Math.min(1, Math.max(0, (row / (this.side - 1)) * 2 - 1));
      sheet.fillStyle = css(colour.map((c) => c * fade));
      sheet.fillRect(0, row, this.side, 1);
    }
  }

  /** Where a point lies along an axis. Pillow cuts coordinates to whole samples; a canvas has a sample's middle half a unit later. */
  #sample(axis, fromOrigin) {
    return Math.trunc(this.origin[axis] - 0.5 + fromOrigin) + 0.5;
  }

  #trace(points) {
    sheet.beginPath();
    for (const [x, y] of points) sheet.lineTo(this.#sample(0, this.cos * x - this.sin * y), this.#sample(1, this.sin * x + this.cos * y));
  }

  #line(colour, width) {
    sheet.strokeStyle = css(colour);
    sheet.lineWidth = width;
    sheet.stroke();
  }

  #lineWidth(width) {
    return Math.max(1, Math.round(width * this.unit));
  }

  /** Fill a shape; with `outline`, draw a line centred on its border first. */
  fill(points, colour, outline = null) {
    this.#trace(points);
    sheet.closePath();
    if (outline) this.#line(outline, this.#lineWidth(LINE));
    sheet.fillStyle = css(colour);
    sheet.fill();
    this.#line(colour, BORDER);
  }

  /** Fill a shape and its mirror image. */
  pair(points, colour, outline = null) {
    this.fill(points, colour, outline);
    this.fill(mirrored(points), colour, outline);
  }

  /** An open line, `width` in head radii. */
  stroke(points, colour, width) {
    this.#trace(points);
    this.#line(colour, this.#lineWidth(width));
  }

  /** The picture at the size asked for: the plain mean of scale x scale samples. @returns {ImageData} */
  finished() {
    const { imageSize, scale, side } = this;
    const samples = sheet.getImageData(0, 0, side, side).data;
    const sums = new Uint32Array(4 * imageSize * imageSize);
    for (let row = 0, i = 0; row < side; row++) {
      const start = 4 * imageSize * Math.floor(row / scale);
      for (let column = 0; column < side; column++, i += 4) {
        const o = start + 4 * Math.floor(column / scale);
        sums[o] += samples[i];
        sums[o + 1] += samples[i + 1];
        sums[o + 2] += samples[i + 2];
        sums[o + 3] += 255;
      }
    }
    return new ImageData(Uint8ClampedArray.from(sums, (sum) => sum / scale ** 2), imageSize, imageSize); // rounds
  }
}

/**
 * The critter as a picture of imageSize x imageSize pixels.
 * @param {Critter} critter
 * @param {number} imageSize
 * @returns {ImageData}
 */
export function drawCritter(critter, imageSize) {
  const painter = new Painter(critter, imageSize);
  DRAWINGS[critter.species](painter, critter, ANATOMY[critter.species]);
  return painter.finished();
}

/** Fur, its outline, its lighter shade, and the colour of the markings (the fur itself when their amount is 0). */
function tones(critter) {
  const fur = furColour(critter);
  return { fur, line: mix(fur, INK, 0.62), light: mix(fur, WHITE, 0.72), marking: mix(fur, mix(fur, INK, 0.82), critter.markings) };
}

const DRAWINGS = {
  cat(painter, critter, anatomy) {
    const { fur, line, light, marking } = tones(critter);
    painter.pair(SHAPES.catEarRight, fur, line);
    painter.pair(SHAPES.catEarInsideRight, PINK);
    jaw(painter, critter, anatomy, light, line);
    painter.fill(SHAPES.catHead, fur, line);
    painter.fill(SHAPES.catCrown, marking);
    for (const shape of [SHAPES.catCrownRight, SHAPES.catCheekHighRight, SHAPES.catCheekLowRight]) painter.pair(shape, marking);
    painter.pair(SHAPES.catMuzzleRight, light);
    mouth(painter, critter, anatomy);
    painter.fill(ellipse(anatomy.noseCentre, anatomy.noseRadii), mix(PINK, THROAT, 0.25));
    for (const height of [0.3, 0.5, 0.7]) {
      const whisker = [[0.46, 0.42 + 0.35 * (height - 0.42)], [1.36, height]];
      painter.stroke(whisker, line, 0.035);
      painter.stroke(mirrored(whisker), line, 0.035);
    }
    eyes(painter, critter, anatomy);
  },

  dog(painter, critter, anatomy) {
    const { fur, line, light, marking } = tones(critter);
    jaw(painter, critter, anatomy, light, line);
    painter.fill(SHAPES.dogHead, fur, line);
    painter.pair(SHAPES.dogPatchRight, marking);
    painter.fill(SHAPES.dogMuzzle, light);
    painter.pair(SHAPES.dogEarRight, mix(fur, INK, 0.3), line);
    mouth(painter, critter, anatomy);
    painter.fill(ellipse(anatomy.noseCentre, anatomy.noseRadii), INK);
    eyes(painter, critter, anatomy);
  },

  fox(painter, critter, anatomy) {
    const { fur, line, light, marking } = tones(critter);
    painter.pair(SHAPES.foxEarRight, fur, line);
    painter.pair(SHAPES.foxEarTipRight, marking);
    painter.pair(SHAPES.foxEarInsideRight, mix(fur, INK, 0.55));
    jaw(painter, critter, anatomy, WHITE, line);
    painter.fill(SHAPES.foxHead, fur, line);
    painter.pair(SHAPES.foxMaskRight, marking);
    painter.pair(SHAPES.foxCheekRight, mix(light, WHITE, 0.75));
    mouth(painter, critter, anatomy);
    painter.fill(ellipse(anatomy.noseCentre, anatomy.noseRadii), INK);
    eyes(painter, critter, anatomy);
  },
};

/** Eyes filled with the iris colour; the pupils move sideways with the gaze. */
function eyes(painter, critter, anatomy) {
  for (const side of [1, -1]) {
    const [x, y] = [anatomy.eyeCentre[0] * side, anatomy.eyeCentre[1]];
    painter.fill(ellipse([x, y], anatomy.eyeRadii, -side * anatomy.eyeSlant), eyeColour(critter), INK);
    const pupil = [x + anatomy.pupilTravel * critter.gaze, y];
    painter.fill(ellipse(pupil, anatomy.pupilRadii), INK);
    painter.fill(ellipse([pupil[0], pupil[1] - 0.08], [0.045, 0.05]), WHITE);
  }
}

/** The lower jaw behind the head; it shows below the chin when the mouth is wide open. */
function jaw(painter, critter, anatomy, colour, line) {
  const bottom = anatomy.mouthTop + anatomy.mouthDepth * critter.mouth + 0.14;
  const middle = (anatomy.mouthTop + bottom) / 2;
  painter.fill(ellipse([0, middle], [anatomy.mouthHalfWidth * 1.15, bottom - middle]), colour, line);
}

/** A w-shaped lip line under the nose and, below it, the opening with a tongue. */
function mouth(painter, critter, anatomy) {
  const { mouthHalfWidth: width, mouthTop: top } = anatomy;
  const depth = anatomy.mouthDepth * critter.mouth;
  const across = Array.from({ length: 33 }, (_, i) => i / 16 - 1);
  const lip = across.map((x) => [width * x, top + 0.07 * Math.abs(Math.sin(Math.PI * x))]);
  const lower = across.map((x, i) => [width * x, top + Math.max(depth * Math.sqrt(1 - x ** 2), lip[i][1] - top)]);
  painter.fill([...lip, ...lower.reverse()], THROAT);
  painter.fill(ellipse([0, top + 0.7 * depth], [0.58 * width, 0.25 * depth]), TONGUE);
  painter.stroke(lip, INK, 0.055);
  painter.stroke([anatomy.noseCentre, [0, top]], INK, 0.055);
}
