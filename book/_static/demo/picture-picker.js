/**
 * Where a picture comes from: one of a few critters drawn at random, sliders for each of its factors, or a file of the reader's own.
 * Used for the source and for the reference.
 */

import { SPECIES, asSpecies, backgroundColour, eyeColour, furColour, rangesOf, sampleCritter } from "./critter-factors.js";
import { drawCritter } from "./critter-drawing.js";
import { button, choices, element, slider } from "./elements.js";
import { readPicture, show } from "./pictures.js";
import { freshSeed, uniform } from "./random.js";

const OFFERED = 6;
const THUMBNAIL = 64; // pixels

const percent = (value) => `${Math.round(100 * value)} %`;
const degrees = (value) => `${Math.round(value)}°`;
const hue = (value) => `${Math.round((value + 360) % 360)}°`;

const POSE = {
  x: ["Across", percent],
  y: ["Down", percent],
  size: ["Size", percent],
  tilt: ["Tilt", degrees],
  gaze: ["Gaze", (value) => (Math.abs(value) < 0.05 ? "ahead" : `${percent(Math.abs(value))} ${value < 0 ? "left" : "right"}`)],
  mouth: ["Mouth", (value) => (value < 0.005 ? "closed" : percent(value))],
};
const COLOURS = {
  fur_hue: ["Fur, hue", hue, furColour],
  fur_lightness: ["Fur, light", percent, furColour],
  markings: ["Markings", percent],
  eye_hue: ["Eyes, hue", hue, eyeColour],
  eye_lightness: ["Eyes, light", percent, eyeColour],
  background_hue: ["Background, hue", hue, backgroundColour],
  background_lightness: ["Background, light", percent, backgroundColour],
};

export class PicturePicker {
  #offered = [];
  #sliders = {};
  #thumbnails;
  #species;

  /**
   * @param {HTMLElement} place filled with the controls
   * @param {Object} options
   * @param {string} options.name unique in the page
   * @param {number} options.imageSize
   * @param {string} [options.species] the only species offered; without it the reader chooses among all
   * @param {boolean} options.unfolded whether the sliders of the pose are shown from the start
   * @param {number} options.seed of the critters first offered
   * @param {() => void} options.onChange
   * @param {(message: string) => void} options.onTrouble
   */
  constructor(place, { name, imageSize, species, unfolded, seed, onChange, onTrouble }) {
    Object.assign(this, { imageSize, bound: species, onChange, onTrouble });
    const numbers = Array.from({ length: OFFERED }, (_, i) => ({
      value: String(i),
      label: element("canvas", { width: THUMBNAIL, height: THUMBNAIL }),
      title: `Critter ${i + 1}`,
    }));
    this.#thumbnails = choices(`${name}-critter`, "Critters", numbers, (i) => this.#take(this.#offered[i]), "demo-thumbnails");
    this.file = element("input", { type: "file", accept: "image/*", className: "demo-unseen" });
    this.file.addEventListener("change", () => this.#read(this.file.files[0]));
    const upload = element("label", { className: "demo-button" }, this.file, "Your own picture");
    this.about = element("p", { className: "demo-hint", hidden: true });
    const buttons = element("p", { className: "demo-row" }, button("Other critters", () => this.offer()), upload);
    place.append(this.#thumbnails.fieldset, buttons, this.about);
    if (!species) {
      const all = SPECIES.map((value) => ({ value, label: value }));
      this.#species = choices(`${name}-species`, "Species", all, (chosen) => this.#take(asSpecies(this.critter, chosen), false));
      place.append(this.#species.fieldset);
    }
    place.append(this.#sliderGroup("Pose", POSE, unfolded), this.#sliderGroup("Colours", COLOURS, false));
    this.offer(seed);
  }

  /** Offer other critters and take the first. @param {number} [seed] */
  offer(seed = freshSeed()) {
    const random = uniform(seed);
    this.#offered = Array.from({ length: OFFERED }, (_, i) => sampleCritter(this.bound ?? SPECIES[i % SPECIES.length], random));
    this.#drawThumbnails();
    this.#take(this.#offered[0]);
    this.#thumbnails.value = "0";
  }

  /** Where only one species is offered: offer this one, in the same poses and similar colours. @param {string} species */
  setSpecies(species) {
    this.bound = species;
    const chosen = this.#thumbnails.value;
    this.#offered = this.#offered.map((critter) => asSpecies(critter, species));
    this.#drawThumbnails();
    if (!this.uploaded) this.#take(asSpecies(this.critter, species), false);
    this.#thumbnails.value = chosen;
  }

  #drawThumbnails() {
    this.#offered.forEach((critter, i) => {
      const input = this.#thumbnails.input(String(i));
      input.setAttribute("aria-label", `Critter ${i + 1}, a ${critter.species}`);
      show(input.nextElementSibling, drawCritter(critter, THUMBNAIL));
    });
  }

  #sliderGroup(title, group, open) {
    const rows = element("div", { className: "demo-sliders" });
    for (const [factor, [label, inWords, colour]] of Object.entries(group)) {
      const made = slider(label, inWords, (value) => this.#take({ ...this.critter, [factor]: value }, false));
      if (colour) made.input.classList.add("demo-coloured");
      this.#sliders[factor] = { ...made, colour };
      rows.append(made.row);
    }
    return element("details", { className: "demo-details", open }, element("summary", {}, title), rows);
  }

  /** Make this critter the picture. @param {boolean} offered whether it is one of the thumbnails */
  #take(critter, offered = true) {
    const moving = critter.species === this.critter?.species && !offered;
    this.critter = critter;
    this.uploaded = null;
    this.about.hidden = true;
    if (!offered) this.#thumbnails.value = undefined;
    if (this.#species) this.#species.value = critter.species;
    const ranges = rangesOf(critter.species);
    for (const [factor, { set, input, colour }] of Object.entries(this.#sliders)) {
      if (!moving) set(ranges[factor], critter[factor]);
      if (colour) input.style.setProperty("--track", gradient(critter, factor, ranges[factor], colour));
    }
    this.picture = drawCritter(critter, this.imageSize);
    this.description = `a drawn ${critter.species}`;
    this.onChange();
  }

  async #read(file) {
    if (!file) return;
    try {
      this.picture = await readPicture(file, this.imageSize);
    } catch {
      this.onTrouble(`${file.name} is no picture that this browser can read: try a JPEG or a PNG.`);
      return;
    } finally {
      this.file.value = ""; // so that the same file can be chosen again
    }
    this.uploaded = file.name;
    this.description = file.name;
    const what = `${file.name}: its middle square, ${this.imageSize} pixels wide. It stays on this machine.`;
    this.about.textContent = `${what} The networks have seen critters only.`;
    this.about.hidden = false;
    this.#thumbnails.value = undefined;
    this.onChange();
  }
}

/** The colours that a slider runs through, for its track. */
function gradient(critter, factor, [low, high], colour) {
  const stops = Array.from({ length: 13 }, (_, i) => colour({ ...critter, [factor]: low + ((high - low) * i) / 12 }));
  return `linear-gradient(to right, ${stops.map((c) => `rgb(${c.map((v) => Math.round(255 * v)).join(" ")})`).join(", ")})`;
}
