/** The page's side of worker.js: every method asks the worker and promises its answer. */

/** @typedef {{values: Float32Array, milliseconds: number}} Timed */

export class Translator {
  #worker;
  #asked = new Map();
  #count = 0;

  /** @param {{runtime: string, models: string}} folders their addresses, with a slash at the end */
  constructor(folders) {
    this.folders = folders;
    this.#worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
    this.#worker.onmessage = ({ data: { number, value, error } }) => {
      const { resolve, reject } = this.#asked.get(number);
      this.#asked.delete(number);
      error === undefined ? resolve(value) : reject(new Error(error));
    };
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.#rejectAll(new Error(event.message || "the worker that runs the networks could not be started"));
    };
  }

  /** @returns {Promise<{backend: string, threads: number, webgpu: boolean}>} */
  open(wanted) {
    return this.#ask("open", { folder: this.folders.runtime, wanted, cores: navigator.hardwareConcurrency || 1 });
  }

  /** @param {import("./model.js").ModelEntry} entry @param {number} imageSize @param {string[]} networks @returns {Promise<void>} */
  load(entry, imageSize, networks) {
    return this.#ask("load", { folder: this.folders.models, entry, imageSize, networks });
  }

  /** @returns {Promise<Timed>} the style [S] */
  styleOfLatent(model, latent, domain) {
    return this.#ask("styleOfLatent", { model, latent, domain });
  }

  /** @returns {Promise<Timed>} the style [S] */
  styleOfReference(model, picture, domain) {
    return this.#ask("styleOfReference", { model, picture, domain });
  }

  /** @returns {Promise<Timed>} the picture [3 H W] in [-1, 1], beyond it here and there */
  translate(model, picture, style) {
    return this.#ask("translate", { model, picture, style });
  }

  close() {
    this.#worker.terminate();
    this.#rejectAll(new Error("closed"));
  }

  #ask(method, options) {
    const number = this.#count++;
    return new Promise((resolve, reject) => {
      this.#asked.set(number, { resolve, reject });
      this.#worker.postMessage({ number, method, options });
    });
  }

  #rejectAll(error) {
    for (const { reject } of this.#asked.values()) reject(error);
    this.#asked.clear();
  }
}

/**
 * Does `work` as often as asked, never twice at once: of the requests that come while it is at work only the newest remains.
 * @param {() => Promise<void>} work reads for itself what is wanted now
 * @param {(error: Error) => void} failed
 * @returns {() => void} request
 */
export function newestOnly(work, failed) {
  let busy = false;
  let again = false;
  return async function request() {
    if (busy) {
      again = true;
      return;
    }
    busy = true;
    try {
      do {
        again = false;
        await work();
      } while (again);
    } catch (error) {
      failed(error);
    } finally {
      busy = false;
    }
  };
}

/** The median of the last few of many numbers. */
export class RunningMedian {
  #values = [];

  /** @param {number} length how many numbers count */
  constructor(length) {
    this.length = length;
  }

  add(value) {
    this.#values = [...this.#values, value].slice(-this.length);
  }

  /** @returns {number | undefined} undefined before the first number */
  get value() {
    const sorted = [...this.#values].sort((a, b) => a - b);
    const middle = sorted.length >> 1;
    return sorted.length % 2 ? sorted[middle] : sorted.length ? (sorted[middle - 1] + sorted[middle]) / 2 : undefined;
  }
}
