/** Where the style comes from: a latent, chosen by number or met on a walk, or a reference picture; and sliders that move it on. */

import { button, element, slider } from "./elements.js";
import { latentAt } from "./latents.js";
import { PicturePicker } from "./picture-picker.js";
import { show, toNumbers } from "./pictures.js";
import { freshSeed } from "./random.js";

const SPEED = 0.5; // latents a second
const PAUSE = 2000; // milliseconds at each latent, where the reader prefers no motion
const REACH = 2; // standard deviations by which a slider may move what it is named after
const NUMBERS = 10000; // latents to choose among by chance

/**
 * @typedef {Object} StyleSource
 * @property {"latent" | "reference"} kind
 * @property {Float32Array} values latent [Z] or picture [3 H W]
 */

export class StylePanel {
  #place = 7;
  #walking = null;
  #amounts = {};

  /**
   * @param {{latent: HTMLElement, reference: HTMLElement, moves: HTMLElement, figure: HTMLElement}} places three panels, and the
   *   figure that shows the style
   * @param {Object} options
   * @param {object} options.manifest
   * @param {string} options.species of the references
   * @param {() => void} options.onChange another latent or reference
   * @param {() => void} options.onMove the same, moved elsewhere
   * @param {(message: string) => void} options.onTrouble
   * @param {(message: string) => void} options.say
   */
  constructor(places, { manifest, species, onChange, onMove, onTrouble, say }) {
    Object.assign(this, { places, manifest, onChange, onMove, say, kind: "latent" });
    this.cells = element("div", { className: "demo-latent", role: "img" });
    for (let i = 0; i < manifest.latent_dim; i++) this.cells.append(element("i"));
    this.canvas = places.figure.querySelector("canvas");
    this.canvas.before(this.cells);
    this.fact = places.figure.querySelector(".demo-fact");
    this.#buildLatent(places.latent);
    this.#buildMoves(places.moves);
    this.picker = new PicturePicker(places.reference, {
      name: "demo-reference",
      imageSize: manifest.image_size,
      species,
      unfolded: true,
      seed: 5,
      onChange: () => this.kind === "reference" && this.#changed(),
      onTrouble,
    });
    this.choose("latent");
  }

  /** @returns {StyleSource} */
  get source() {
    if (this.kind === "reference") return { kind: "reference", values: toNumbers(this.picker.picture) };
    return { kind: "latent", values: this.#latent() };
  }

  /** How far the style is to be moved along each of the manifest's directions. @returns {Record<string, number>} */
  get moves() {
    return this.#amounts;
  }

  /** @param {"latent" | "reference"} kind */
  choose(kind) {
    this.kind = kind;
    if (kind === "reference") this.#stop();
    this.places.latent.hidden = kind !== "latent";
    this.places.reference.hidden = kind !== "reference";
    this.cells.hidden = kind !== "latent";
    this.canvas.hidden = kind !== "reference";
    this.#changed();
  }

  #latent() {
    return latentAt(this.#place, this.manifest.latent_dim);
  }

  #buildLatent(place) {
    this.number = element("input", { type: "number", min: 0, max: NUMBERS - 1, step: 1, value: this.#place });
    this.number.addEventListener("change", () => {
      const asked = Math.floor(this.number.valueAsNumber);
      if (asked >= 0) this.#goTo(asked);
      else this.number.value = Math.floor(this.#place);
    });
    this.walk = button("Walk", () => (this.#walking ? this.#stop() : this.#start()));
    this.walk.classList.add("demo-walk");
    place.append(
      element(
        "p",
        { className: "demo-row" },
        element("label", { className: "demo-number" }, "Number", this.number),
        button("Another", () => this.#goTo(freshSeed() % NUMBERS)),
        this.walk,
      ),
      element(
        "p",
        { className: "demo-hint" },
        `A latent is ${this.manifest.latent_dim} numbers drawn by chance, shown as colours. The number names it; a walk goes from each to the next.`,
      ),
    );
  }

  #buildMoves(place) {
    const directions = this.manifest.directions ?? [];
    const rows = element("div", { className: "demo-sliders" });
    const sliders = directions.map(({ name, label }) => {
      const inWords = (amount) => (Math.abs(amount) < 0.03 ? "as it is" : `${amount > 0 ? "+" : "−"}${Math.abs(amount).toFixed(1)}`);
      const made = slider(label, inWords, (amount) => {
        this.#amounts[name] = amount;
        this.onMove();
      });
      rows.append(made.row);
      return made;
    });
    const rest = () => {
      this.#amounts = Object.fromEntries(directions.map(({ name }) => [name, 0]));
      sliders.forEach((made) => made.set([-REACH, REACH], 0));
    };
    rest();
    const back = button("Reset", () => {
      rest();
      this.onMove();
    });
    place.hidden = !directions.length;
    rows.append(element("p", { className: "demo-row" }, back));
    place.append(element("details", { className: "demo-details", open: true }, element("summary", {}, "Move the style"), rows));
  }

  #goTo(place) {
    this.#place = place;
    this.number.value = Math.floor(place);
    this.#changed();
  }

  #start() {
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    let last = performance.now();
    if (still) {
      const timer = setInterval(() => this.#goTo(Math.floor(this.#place) + 1), PAUSE);
      this.#walking = () => clearInterval(timer);
    } else {
      let frame;
      const step = (now) => {
        this.#goTo(this.#place + (SPEED * Math.min(now - last, 250)) / 1000); // after a pause of the page it goes on where it was
        last = now;
        frame = requestAnimationFrame(step);
      };
      frame = requestAnimationFrame(step);
      this.#walking = () => cancelAnimationFrame(frame);
    }
    this.walk.textContent = "Pause";
    this.say("Walking through latents.");
  }

  #stop() {
    if (!this.#walking) return;
    this.#walking();
    this.#walking = null;
    this.walk.textContent = "Walk";
    this.say("Walk paused.");
  }

  #changed() {
    if (this.kind === "latent") {
      const latent = this.#latent();
      // A cell's colour: full at two standard deviations.
      [...this.cells.children].forEach((cell, i) => {
        cell.style.setProperty("--amount", `${Math.min(100, 50 * Math.abs(latent[i]))}%`);
        cell.classList.toggle("demo-negative", latent[i] < 0);
      });
      const n = Math.floor(this.#place);
      const name = n === this.#place ? `latent ${n}` : `between ${n} and ${n + 1}`;
      this.fact.textContent = name;
      this.cells.setAttribute("aria-label", `${name}, ${latent.length} numbers as colours`);
    } else {
      show(this.canvas, this.picker.picture);
      this.fact.textContent = this.picker.description;
      this.canvas.setAttribute("aria-label", `The reference: ${this.picker.description}`);
    }
    this.onChange();
  }
}
