/**
 * The worker in which the networks run, so that the page stays quick while they do. It answers the messages of translator.js one after
 * the other; each answer carries the number of its question.
 */

import { Model } from "./model.js";
import { findWebGpu, openRuntime } from "./runtime.js";

let runtime;
const models = {};

const METHODS = {
  /** Load onnxruntime-web; `wanted` is "auto", "webgpu" or "wasm". */
  async open({ folder, wanted, cores }) {
    const webgpu = await findWebGpu();
    const backend = wanted !== "auto" ? wanted : webgpu === "hardware" ? "webgpu" : "wasm";
    runtime = await openRuntime(folder, backend, cores);
    return { backend, threads: runtime.threads, webgpu: webgpu !== "none" };
  },

  /** Fetch a model's generator, and mapping network or style encoder. */
  async load({ folder, entry, imageSize, networks }) {
    models[entry.name] ??= new Model(runtime, folder, entry, imageSize);
    for (const name of networks) await models[entry.name].load(name);
  },

  styleOfLatent: ({ model, latent, domain }) => timed(() => models[model].styleOfLatent(latent, domain)),
  styleOfReference: ({ model, picture, domain }) => timed(() => models[model].styleOfReference(picture, domain)),
  translate: ({ model, picture, style }) => timed(() => models[model].translate(picture, style)),
};

/** What a network gives, and how many milliseconds it took. */
async function timed(run) {
  const start = performance.now();
  const values = await run();
  return { values, milliseconds: performance.now() - start };
}

let turn = Promise.resolve(); // onnxruntime-web takes one call at a time

self.onmessage = ({ data: { number, method, options } }) => {
  turn = turn.then(async () => {
    try {
      self.postMessage({ number, value: await METHODS[method](options) });
    } catch (error) {
      self.postMessage({ number, error: String(error?.message ?? error) });
    }
  });
};
