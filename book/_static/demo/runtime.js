/** onnxruntime-web, in one of its two flavours: WebGPU where the browser has an adapter, WebAssembly everywhere else. */

const FLAVOURS = {
  webgpu: { bundle: "ort.webgpu.bundle.min.mjs", wasm: "ort-wasm-simd-threaded.asyncify" },
  wasm: { bundle: "ort.wasm.bundle.min.mjs", wasm: "ort-wasm-simd-threaded" },
};
const MOST_THREADS = 4; // a small network does not divide well, and the page needs a core too

/**
 * @typedef {Object} Runtime
 * @property {object} ort onnxruntime-web's module
 * @property {"webgpu" | "wasm"} backend
 * @property {number} threads 1 unless the page is cross-origin isolated: only then may threads share memory
 */

/**
 * What WebGPU would run on in this browser: a graphics processor, a program that stands in for one (slower than WebAssembly), or nothing.
 * @returns {Promise<"hardware" | "software" | "none">}
 */
export async function findWebGpu() {
  try {
    const adapter = await navigator.gpu?.requestAdapter();
    if (!adapter) return "none";
    return adapter.info?.isFallbackAdapter || adapter.info?.architecture === "swiftshader" ? "software" : "hardware";
  } catch {
    return "none";
  }
}

/**
 * @param {string} folder address of the folder with onnxruntime-web's files, with a slash at its end
 * @param {"webgpu" | "wasm"} backend
 * @param {number} cores of the machine
 * @returns {Promise<Runtime>}
 */
export async function openRuntime(folder, backend, cores) {
  const { bundle, wasm } = FLAVOURS[backend];
  const ort = await import(folder + bundle);
  const threads = self.crossOriginIsolated ? Math.min(MOST_THREADS, cores) : 1;
  ort.env.wasm.numThreads = threads;
  ort.env.wasm.wasmPaths = { wasm: `${folder}${wasm}.wasm`, ...(threads > 1 && { mjs: `${folder}${wasm}.mjs` }) };
  return { ort, backend, threads };
}
