/** The live demo: wires pickers, figures and the worker that runs the networks. */

import { choices, element } from "./elements.js";
import { fillTable, ratio } from "./model-table.js";
import { ModelView, TRANSLATING } from "./model-view.js";
import { PicturePicker } from "./picture-picker.js";
import { show, toNumbers } from "./pictures.js";
import { StylePanel } from "./style-panel.js";
import { Translator, newestOnly } from "./translator.js";

const MANIFEST_FORMAT = 1;
const BACKENDS = { webgpu: "WebGPU", wasm: "WebAssembly" };
const NO_MODELS = "this book was built without the networks. python -m kdlib.deploy.demo_assets makes them; then build the book again.";
const NO_RUNTIME =
  "this book was built without onnxruntime-web, which runs the networks. python -m kdlib.deploy.browser_runtime fetches it; then build the book again.";
const MEASUREMENTS = 5; // translations before the reader does anything, so that the first times shown are medians

/**
 * @param {HTMLElement} demo the element that holds the demo
 * @param {string} statics address of the book's static files, with a slash at its end
 */
export async function start(demo, statics) {
  const folders = { runtime: `${statics}ort/`, models: `${statics}models/` };
  const begun = begin(folders, "auto"); // the runtime is by far the largest file: ask for it before all else
  const manifest = await readJson(`${folders.models}manifest.json`, NO_MODELS);
  if (manifest.format !== MANIFEST_FORMAT) {
    throw new Error(`models/manifest.json is of format ${manifest.format}, this page reads ${MANIFEST_FORMAT}`);
  }
  // The student meanwhile, while the page is filled; whether it worked is seen when `run` asks for it again.
  const student = manifest.models.find((model) => model.role === "student");
  begun.translator.load(student, manifest.image_size, TRANSLATING).catch(() => {});
  await new Demo(demo, manifest, folders).run("auto", begun);
}

/** A worker, and the promise that it has loaded the runtime. */
function begin(folders, wanted) {
  const translator = new Translator(folders);
  const opening = translator.open(wanted);
  opening.catch(() => {}); // whoever awaits it hears of it
  return { translator, opening };
}

async function readJson(address, otherwise) {
  const answer = await fetch(address, { cache: "no-cache" });
  if (!answer.ok) throw new Error(otherwise);
  return answer.json();
}

class Demo {
  #styleVersion = 0;
  #translator = null;

  constructor(demo, manifest, folders) {
    Object.assign(this, { demo, manifest, folders, domain: manifest.domains[1] });
    const place = (name) => demo.querySelector(`#demo-${name}`);
    const onTrouble = (message) => this.#say(message);
    this.status = place("status");
    this.verdict = place("verdict");
    this.table = document.querySelector("#demo-models tbody");
    this.views = ["student", "teacher"].map((role) => {
      const entry = manifest.models.find((model) => model.role === role);
      return new ModelView(place(role), entry, manifest.image_size);
    });
    this.request = newestOnly(() => this.#translate(), (error) => this.#say(`Translating failed: ${error.message}`));

    this.into = choices("demo-into", "Translate into", named(manifest.domains), (species) => this.#chooseDomain(species));
    this.into.value = this.domain;
    const kinds = [{ value: "latent", label: "latent" }, { value: "reference", label: "reference" }];
    this.kinds = choices("demo-kind", "with a style from a", kinds, (kind) => this.style.choose(kind));
    this.kinds.value = "latent";
    place("choice").append(this.into.fieldset, this.kinds.fieldset);

    const sourceFigure = place("source");
    this.source = new PicturePicker(place("source-controls"), {
      name: "demo-source",
      imageSize: manifest.image_size,
      unfolded: true,
      seed: 4,
      onTrouble,
      onChange: () => this.source && this.#sourceChanged(sourceFigure),
    });
    this.#sourceChanged(sourceFigure);
    this.style = new StylePanel(
      { latent: place("latent-controls"), reference: place("reference-controls"), moves: place("moves"), figure: place("style") },
      { manifest, species: this.domain, onTrouble, say: onTrouble, onChange: () => this.#styleChanged(), onMove: () => this.request() },
    );
    this.backends = choices("demo-backend", "Runs on", named(Object.keys(BACKENDS), BACKENDS), (backend) => this.run(backend));
    place("runtime").append(this.backends.fieldset, (this.threads = element("span", { className: "demo-hint" })));
    demo.dataset.state = "starting";
    fillTable(this.table, ...this.#teacherAndStudent());
  }

  /**
   * Load runtime and models anew, the student first: its picture is the first to be seen.
   * @param {"auto" | "webgpu" | "wasm"} wanted
   * @param {ReturnType<typeof begin>} [begun]
   */
  async run(wanted, begun = begin(this.folders, wanted)) {
    this.#translator?.close();
    const { translator, opening } = begun;
    this.#translator = translator;
    this.views.forEach((view) => view.reset());
    this.demo.dataset.state = "starting";
    let backend = wanted;
    try {
      this.#say("Loading the runtime …");
      const opened = await opening;
      backend = opened.backend;
      this.#showRuntime(opened);
      for (const view of this.views) {
        this.#say(`Loading the ${view.entry.role} …`);
        await view.load(translator);
        await view.translate(translator, this.#wanted());
      }
      this.#say(`Ready: both run in this page, on ${BACKENDS[backend]}.`);
      this.demo.dataset.state = "ready";
      for (let i = 0; i < MEASUREMENTS; i++) {
        this.#styleVersion++; // the style networks are measured, too
        await this.#translate();
      }
    } catch (error) {
      if (translator !== this.#translator) return; // another choice was made meanwhile
      await this.#failed(backend, error);
    }
  }

  async #failed(backend, error) {
    if (backend !== "wasm") {
      await this.run("wasm");
      if (this.demo.dataset.state === "ready") this.#say(`WebGPU did not work here (${error.message}): this is WebAssembly.`);
      return;
    }
    this.demo.dataset.state = "failed";
    const reason = await readJson(`${this.folders.runtime}runtime.json`, NO_RUNTIME).then(() => error, (missing) => missing);
    this.#say(`The networks could not be run: ${reason.message}`);
  }

  #showRuntime({ backend, threads, webgpu }) {
    this.backends.value = backend;
    this.backends.input("webgpu").disabled = !webgpu;
    this.threads.textContent = `${threads === 1 ? "one thread" : `${threads} threads`}${webgpu ? "" : "; no WebGPU in this browser"}`;
  }

  #wanted() {
    return {
      picture: toNumbers(this.source.picture),
      style: this.style.source,
      moves: this.style.moves,
      styleVersion: this.#styleVersion,
      domain: this.manifest.domains.indexOf(this.domain),
      into: this.domain,
    };
  }

  async #translate() {
    const translator = this.#translator;
    const ready = this.views.filter((view) => view.ready);
    if (!ready.length) return;
    const wanted = this.#wanted();
    try {
      for (const view of ready) await view.translate(translator, wanted);
    } catch (error) {
      if (translator === this.#translator) throw error; // of a runtime given up meanwhile, nobody wants to know
    }
    this.#compare();
  }

  #compare() {
    const [teacher, student] = this.#teacherAndStudent();
    fillTable(this.table, teacher, student);
    const [slow, fast] = [teacher.times.picture.value, student.times.picture.value];
    if (slow && fast) {
      this.verdict.replaceChildren(
        "The student is ",
        element("strong", {}, ratio(slow / fast)),
        " as fast as the teacher here, in files ",
        element("strong", {}, ratio(teacher.entry.bytes / student.entry.bytes)),
        " smaller.",
      );
    }
  }

  #teacherAndStudent() {
    return ["teacher", "student"].map((role) => this.views.find((view) => view.entry.role === role));
  }

  #chooseDomain(species) {
    this.domain = species;
    this.style.picker.setSpecies(species); // a reference is of the species that it lends its style to
    this.request();
  }

  #sourceChanged(figure) {
    const canvas = figure.querySelector("canvas");
    show(canvas, this.source.picture);
    canvas.setAttribute("aria-label", `The source: ${this.source.description}`);
    figure.querySelector(".demo-fact").textContent = this.source.description;
    figure.dataset.state = "ready";
    this.request();
  }

  #styleChanged() {
    this.#styleVersion++;
    this.request();
  }

  #say(message) {
    this.status.textContent = message;
  }
}

const named = (values, labels = {}) => values.map((value) => ({ value, label: labels[value] ?? value }));
