// Draws the explorer that kdlib.book.explorer left in the page as <div class="kdx"> with its data as JSON: one slider over the width
// cap moves the drawing of the networks, their costs, their scores and the same pictures together.
(() => {
  "use strict";
  const KINDS = { alone: "alone", distilled: "distilled", teacher: "teacher" };
  const GUIDES = { latent: "latent", reference: "reference" };
  const NETWORKS = { G: "generator", E: "style encoder", F: "mapping network" };
  const THICKNESS = (side) => 5 + 3.4 * Math.log2(side); // pixels of a stage's bar, by the side of its pictures

  function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  const minus = (text) => text.replace("-", "−");
  const thousands = (count) => count.toLocaleString("en-US");

  function amount(count) {
    for (const [size, unit] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
      if (count >= size) return `${(count / size).toPrecision(3)} ${unit}`;
    }
    return String(count);
  }

  function choice(legend, name, options, chosen, changed) {
    const labels = Object.entries(options).map(([value, text]) => {
      const input = element("input", { type: "radio", name, value });
      input.checked = value === chosen;
      input.addEventListener("change", () => changed(value));
      return element("label", {}, input, text);
    });
    return element("fieldset", {}, element("legend", {}, legend), ...labels);
  }

  class Explorer {
    constructor(root) {
      this.root = root;
      this.data = JSON.parse(root.querySelector("script").textContent);
      this.teacher = this.data.stops.at(-1);
      this.at = Math.max(0, this.data.stops.findIndex((stop) => stop.alpha === this.data.main && !stop.teacher));
      this.way = "distilled";
      this.guide = "reference";
      root.replaceChildren(this.controls(), this.now(), ...this.panels());
      this.show();
    }

    get stop() {
      return this.data.stops[this.at];
    }

    get kind() {
      return this.stop.teacher ? "teacher" : this.way;
    }

    get model() {
      return this.stop.kinds[this.kind];
    }

    name(stop = this.stop, kind = this.kind) {
      return stop.teacher ? "teacher" : `α = ${stop.alpha}, ${KINDS[kind]}`;
    }

    // ---- controls ----

    controls() {
      const stops = this.data.stops;
      this.slider = element("input", { type: "range", min: 0, max: stops.length - 1, step: 1, id: "kdx-alpha" });
      this.slider.value = this.at;
      this.slider.addEventListener("input", () => this.go(Number(this.slider.value)));
      this.marks = stops.map((stop, i) => {
        const at = `--kdx-at: ${i / (stops.length - 1)}`;
        const mark = element("button", { type: "button", tabindex: -1, style: at }, stop.teacher ? "teacher" : String(stop.alpha));
        mark.addEventListener("click", () => this.go(i));
        return mark;
      });
      const width = element(
        "div", { class: "kdx-width" }, element("label", { for: "kdx-alpha" }, "width cap α"), this.slider,
        element("div", { class: "kdx-stops" }, ...this.marks),
      );
      this.ways = choice("students trained", "kdx-way", { distilled: "distilled", alone: "alone" }, this.way, (way) => {
        this.way = way;
        this.show();
      });
      const guides = choice("guided by", "kdx-guide", GUIDES, this.guide, (guide) => {
        this.guide = guide;
        this.show();
      });
      const form = element("form", { class: "kdx-controls" }, width, this.ways, guides);
      form.addEventListener("submit", (event) => event.preventDefault());
      return form;
    }

    go(at) {
      this.at = at;
      this.slider.value = at;
      this.show();
    }

    now() {
      this.line = element("p", { class: "kdx-now", "aria-live": "polite" });
      return this.line;
    }

    panels() {
      this.networks = element("div", { class: "kdx-networks" });
      this.costs = element("div", { class: "kdx-lines" });
      this.scores = element("div", { class: "kdx-lines" });
      this.pictures = element("div", { class: "kdx-pictures" });
      const about = (text) => element("p", { class: "kdx-about" }, text);
      return [
        element("h3", {}, "Networks"),
        about("A bar a stage: as high as it has channels (the number above), as thick as its pictures are large (the number below, in " +
          "pixels). Dashed: the teacher."),
        this.networks,
        element("h3", {}, "Costs"), about("Of one picture through each network; the dashed frame is the teacher's."), this.costs,
        element("h3", {}, "Scores"), about("Every model of the study on one line; better lies to the right."), this.scores, this.key(),
        element("h3", {}, "Pictures"),
        about("The same sources in the same styles, from the samples that the runs keep (first seed)."), this.pictures,
      ];
    }

    key() {
      const entry = (kind, text) => element("span", {}, element("span", { class: "kdx-scale" }, this.sign(kind)), text);
      return element("p", { class: "kdx-key" }, ...Object.entries(KINDS).map(([kind, text]) => entry(kind, text)), "filled: the one chosen");
    }

    sign(kind) {
      return element("i", { class: kind, style: `--kdx-sign: var(--kdx-${kind})` });
    }

    // ---- what the controls move ----

    show() {
      this.root.dataset.kind = this.kind;
      this.ways.disabled = this.stop.teacher;
      this.slider.setAttribute("aria-valuetext", this.name());
      this.marks.forEach((mark, i) => mark.setAttribute("aria-pressed", String(i === this.at)));
      const { weights, MACs } = this.stop.costs;
      const times = (a, b) => `${(a / b).toFixed(1)} times fewer`;
      const cost = this.stop.teacher
        ? `${amount(weights)} weights, ${amount(MACs)} MACs`
        : `${times(this.teacher.costs.weights, weights)} weights and ${times(this.teacher.costs.MACs, MACs)} MACs than the teacher`;
      const seeds = (count) => (count === 1 ? "1 seed" : `${count} seeds`);
      const trained = this.model ? `, ${thousands(this.model.iterations)} iterations, ${seeds(this.model.seeds)}` : ", not trained yet";
      this.line.replaceChildren(element("strong", {}, this.name()), `: ${cost}${trained}.`);
      this.showNetworks();
      this.showCosts();
      this.showScores();
      this.showPictures();
    }

    // Built once, then only moved, so that the bars glide.
    showNetworks() {
      const highest = Math.max(...Object.values(this.teacher.networks).flat().map((row) => row[2]));
      const percent = (channels) => `${(100 * channels) / highest}%`;
      if (!this.bars) {
        this.bars = {};
        for (const [letter, name] of Object.entries(NETWORKS)) {
          const stages = this.teacher.networks[letter].map((row) => {
            const thickness = `${THICKNESS(row[1])}px`;
            const ghost = element("div", { class: "kdx-ghost", style: `width: ${thickness}; height: ${percent(row[2])}` });
            const bar = element("div", { class: `kdx-bar ${row[5]}`, style: `width: ${thickness}` });
            const channels = element("span");
            const side = element("span", { class: "kdx-side" }, String(row[1]));
            const item = element("li", {}, channels, element("div", { class: "kdx-stage" }, ghost, bar), side);
            return { item, bar, channels };
          });
          const caption = element("figcaption");
          this.networks.append(element("figure", {}, caption, element("ol", {}, ...stages.map((stage) => stage.item))));
          this.bars[letter] = { stages, caption, name };
        }
      }
      for (const [letter, { stages, caption, name }] of Object.entries(this.bars)) {
        const rows = this.stop.networks[letter];
        const weights = rows.reduce((sum, row) => sum + row[3], 0);
        caption.replaceChildren(element("b", {}, `${letter}, ${name}`), element("br"), `${amount(weights)} weights`);
        rows.forEach((row, i) => {
          const [stage, side, channels, weights, macs] = row;
          stages[i].bar.style.height = percent(channels);
          stages[i].channels.textContent = channels;
          const size = side > 1 ? ` of ${side} × ${side} pixels` : "";
          stages[i].item.title = `${stage}: ${channels} channels${size}, ${thousands(weights)} weights, ${amount(macs)} MACs`;
        });
      }
    }

    showCosts() {
      const lines = Object.entries(this.stop.costs).map(([name, value]) => [name, value, this.teacher.costs[name], amount(value)]);
      for (const [runtime, seconds] of Object.entries(this.stop.latency)) {
        lines.push([`latency of G, ${runtime}`, seconds, this.teacher.latency[runtime] ?? seconds, `${(1e3 * seconds).toPrecision(3)} ms`]);
      }
      this.costs.replaceChildren(
        ...lines.flatMap(([name, value, whole, text]) => [
          element("span", {}, name),
          element("div", { class: "kdx-share" }, element("div", { style: `width: ${(100 * value) / whole}%` })),
          element("span", { class: "kdx-value" }, text, this.stop.teacher ? "" : element("small", {}, ` ${(whole / value).toFixed(1)}×`)),
        ]),
      );
    }

    // All models that have a score: {stop, kind, value: [mean, deviation, seeds]}.
    everyone(name) {
      return this.data.stops.flatMap((stop) =>
        Object.entries(stop.kinds).flatMap(([kind, model]) => (model.scores[name] ? [{ stop, kind, value: model.scores[name] }] : [])),
      );
    }

    showScores() {
      const lines = [];
      for (const { key, name, lower, digits } of this.data.scores) {
        const all = this.everyone(`${this.guide}|${key}`);
        if (all.length === 0) continue;
        const means = all.map(({ value }) => value[0]);
        const [least, most] = [Math.min(...means), Math.max(...means)];
        const place = (mean) => {
          const share = most > least ? (mean - least) / (most - least) : 0.5;
          return 100 * (lower ? 1 - share : share);
        };
        const scale = element("div", { class: "kdx-scale" });
        let text = "–";
        for (const { stop, kind, value } of all) {
          const sign = this.sign(kind);
          sign.style.left = `${place(value[0])}%`;
          sign.title = `${this.name(stop, kind)}: ${minus(value[0].toFixed(digits))}`;
          if (stop === this.stop && kind === this.kind) {
            sign.classList.add("chosen");
            const [mean, deviation] = value;
            text = minus(mean.toFixed(digits)) + (deviation === null ? "" : ` ± ${deviation.toFixed(digits)}`);
          }
          scale.append(sign);
        }
        lines.push(element("span", {}, name), scale, element("span", { class: "kdx-value" }, text));
      }
      this.scores.replaceChildren(...(lines.length ? lines : ["No model of this study has been evaluated yet."]));
    }

    showPictures() {
      const inputs = this.data.pictures[this.guide];
      if (!inputs) {
        this.pictures.replaceChildren("No samples are kept yet.");
        return;
      }
      const line = (label, address, what, mine) => [
        element("span", mine ? { class: "kdx-mine" } : {}, label),
        address ? element("img", { src: address, alt: `${what}: ${inputs.pairs.join(", ")}` }) : element("em", {}, "no samples kept"),
      ];
      const names = inputs.pairs.map((pair) => element("span", {}, pair));
      const pairs = element("div", { class: "kdx-pairs", style: `--kdx-pairs: ${names.length}` }, ...names);
      const theirs = this.teacher.kinds.teacher?.pictures[this.guide];
      this.pictures.replaceChildren(
        element("span"), pairs,
        ...line("source", inputs.sources, "Sources"),
        ...(inputs.references ? line("style of", inputs.references, "References") : []),
        ...line("teacher", theirs, "Teacher", this.stop.teacher),
        ...(this.stop.teacher ? [] : line(`α = ${this.stop.alpha}`, this.model?.pictures[this.guide], this.name(), true)),
      );
    }
  }

  function start() {
    for (const root of document.querySelectorAll("div.kdx")) new Explorer(root);
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
