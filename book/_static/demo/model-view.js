/** One model in the page: its figure, the style it was last asked for, and how long it takes. */

import { show, toImage } from "./pictures.js";
import { RunningMedian } from "./translator.js";

const COUNTED = 15; // runs whose median is shown

/** The networks that a translation by a latent takes; the style encoder is fetched when a reference is first used. */
export const TRANSLATING = ["generator", "mapping_network"];

export class ModelView {
  #style = null;
  #warm = new Set();
  ready = false;

  /**
   * @param {HTMLElement} figure with a canvas and a .demo-fact
   * @param {object} entry of the manifest
   * @param {number} imageSize
   */
  constructor(figure, entry, imageSize) {
    Object.assign(this, { figure, entry, imageSize });
    this.canvas = figure.querySelector("canvas");
    this.fact = figure.querySelector(".demo-fact");
    this.canvas.width = this.canvas.height = imageSize;
    this.reset();
  }

  /** Forget what was measured: another runtime is about to be used. */
  reset() {
    this.ready = false;
    this.#style = null;
    this.#warm.clear();
    this.times = { latent: new RunningMedian(COUNTED), reference: new RunningMedian(COUNTED), picture: new RunningMedian(COUNTED) };
    this.figure.dataset.state = "waiting";
    this.#sayFact();
  }

  /** Fetch what is needed to translate. @param {import("./translator.js").Translator} translator */
  async load(translator) {
    await translator.load(this.entry, this.imageSize, TRANSLATING);
    this.ready = true;
  }

  /**
   * Translate and show.
   * @param {import("./translator.js").Translator} translator
   * @param {Object} wanted
   * @param {Float32Array} wanted.picture [3 H W]
   * @param {import("./style-panel.js").StyleSource} wanted.style
   * @param {number} wanted.styleVersion another number whenever the style's source is another
   * @param {Record<string, number>} wanted.moves amounts by which the style is moved along this model's directions
   * @param {number} wanted.domain label
   * @param {string} wanted.into the domain's name
   */
  async translate(translator, wanted) {
    const style = this.#moved(await this.#styleFor(translator, wanted), wanted);
    const { values, milliseconds } = await translator.translate(this.entry.name, wanted.picture, style);
    this.#count("picture", milliseconds);
    show(this.canvas, toImage(values, this.imageSize));
    this.canvas.setAttribute("aria-label", `The ${this.entry.role}'s translation into a ${wanted.into}`);
    this.figure.dataset.state = "ready";
    this.#sayFact();
  }

  /** The style, computed anew only where latent, reference or species have changed. */
  async #styleFor(translator, { style: { kind, values }, styleVersion, domain }) {
    const key = `${styleVersion} ${domain}`;
    if (this.#style?.key !== key) {
      if (kind === "reference") await translator.load(this.entry, this.imageSize, ["style_encoder"]);
      const ask = kind === "latent" ? "styleOfLatent" : "styleOfReference";
      const made = await translator[ask](this.entry.name, values, domain);
      this.#count(kind, made.milliseconds);
      this.#style = { key, values: made.values };
    }
    return this.#style.values;
  }

  /** A style [S] moved along the directions that the manifest has for this model and domain. */
  #moved(style, { moves, into }) {
    const vectors = Object.entries(moves).map(([name, amount]) => [this.entry.directions[name][into], amount]);
    return style.map((value, i) => vectors.reduce((sum, [vector, amount]) => sum + amount * vector[i], value));
  }

  /** The first run of a network prepares it and does not count. */
  #count(what, milliseconds) {
    if (this.#warm.has(what)) this.times[what].add(milliseconds);
    this.#warm.add(what);
  }

  #sayFact() {
    const time = this.times.picture.value;
    const size = `${megabytes(this.entry.bytes)} MB`;
    this.fact.textContent = this.figure.dataset.state === "waiting" ? "loading" : time === undefined ? size : `${inMilliseconds(time)} ms · ${size}`;
  }
}

/** @param {number} bytes */
export const megabytes = (bytes) => (bytes / 1e6).toFixed(bytes < 1e6 ? 2 : 1);

/** @param {number} time */
export const inMilliseconds = (time) => time.toFixed(time < 10 ? 1 : 0);
