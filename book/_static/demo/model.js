/**
 * A teacher or a student: the three exported networks of StarGAN v2 that translate, as sessions of onnxruntime-web.
 *
 * Shapes are those of the Python library, for one picture: picture [1 3 H W] in [-1, 1], latent [1 Z], style [1 S], domain label [1].
 *
 * @typedef {{file: string, sha256: string, inputs: [string, string]}} NetworkEntry
 * @typedef {{name: string, networks: Record<"generator" | "style_encoder" | "mapping_network", NetworkEntry>}} ModelEntry
 */

export class Model {
  #sessions = {};

  /**
   * @param {import("./runtime.js").Runtime} runtime
   * @param {string} folder address of the folder with the model files, with a slash at its end
   * @param {ModelEntry} entry of the manifest
   * @param {number} imageSize
   */
  constructor(runtime, folder, entry, imageSize) {
    Object.assign(this, { runtime, folder, entry, imageSize });
  }

  /** Fetch and prepare a network, unless that is done. @param {keyof ModelEntry["networks"]} name */
  async load(name) {
    this.#sessions[name] ??= await this.#open(this.entry.networks[name]);
  }

  async #open({ file, sha256 }) {
    const address = `${this.folder}${file}?${sha256.slice(0, 12)}`; // a changed model is another address, so no cache serves the old one
    const answer = await fetch(address);
    if (!answer.ok) throw new Error(`${file} cannot be fetched (${answer.status} ${answer.statusText})`);
    const bytes = new Uint8Array(await answer.arrayBuffer());
    return this.runtime.ort.InferenceSession.create(bytes, { executionProviders: [this.runtime.backend], logSeverityLevel: 3 });
  }

  /** The style of a latent [Z] in a domain: F(z, y). @returns {Promise<Float32Array>} */
  async styleOfLatent(latent, domain) {
    return this.#run("mapping_network", this.#floats(latent, [1, latent.length]), this.#label(domain));
  }

  /** The style of a reference picture [3 H W] as a member of a domain: E(x, y). @returns {Promise<Float32Array>} */
  async styleOfReference(picture, domain) {
    return this.#run("style_encoder", this.#picture(picture), this.#label(domain));
  }

  /** A picture [3 H W] in the style [S]: G(x, s). @returns {Promise<Float32Array>} [3 H W] */
  async translate(picture, style) {
    return this.#run("generator", this.#picture(picture), this.#floats(style, [1, style.length]));
  }

  async #run(name, first, second) {
    await this.load(name);
    const session = this.#sessions[name];
    const [a, b] = this.entry.networks[name].inputs;
    const results = await session.run({ [a]: first, [b]: second });
    return results[session.outputNames[0]].data;
  }

  #floats(values, shape) {
    return new this.runtime.ort.Tensor("float32", values, shape);
  }

  #picture(values) {
    return this.#floats(values, [1, 3, this.imageSize, this.imageSize]);
  }

  #label(domain) {
    return new this.runtime.ort.Tensor("int64", BigInt64Array.of(BigInt(domain)), [1]);
  }
}
