// Lets a reader choose what a figure shows. kdlib.book.study_report leaves <div class="kdchoose"> around a figure that kdplot.js draws: a
// form with one select for either axis, and the values of every choice as JSON ({x: {name: ...}, y: {name: ...}}, a list a trace).
(() => {
  "use strict";

  // The change of the figure's traces and layout that shows these choices.
  function change(x, y) {
    return {
      traces: { x: x.values, y: y.values, "error_y.array": y.errors, customdata: y.notes },
      layout: {
        "title.text": y.name, "yaxis.title.text": y.axis, "yaxis.autorange": true,
        "xaxis.title.text": x.title, "xaxis.tickvals": x.ticks, "xaxis.ticktext": x.labels, "xaxis.autorange": true,
      },
    };
  }

  // The same in the figure's stored JSON, from which kdplot.js draws it the first time and again in the other theme.
  function store(script, { traces, layout }) {
    const figure = JSON.parse(script.textContent);
    const put = (target, path, value) => {
      const [last, ...rest] = path.split(".").reverse();
      const inner = rest.reverse().reduce((object, key) => (object[key] ??= {}), target);
      inner[last] = value;
    };
    for (const [path, values] of Object.entries(traces)) figure.data.forEach((trace, i) => put(trace, path, values[i]));
    for (const [path, value] of Object.entries(layout)) put(figure.layout, path, value);
    script.textContent = JSON.stringify(figure);
  }

  function prepare(root) {
    const data = JSON.parse(root.querySelector("script.kdchoose-data").textContent);
    const form = root.querySelector("form");
    const show = () => {
      const made = change(data.x[form.elements.x.value], data.y[form.elements.y.value]);
      store(root.querySelector(".kdplot > script"), made);
      const drawn = root.querySelector(".kdplot .js-plotly-plot");
      if (drawn) window.Plotly.update(drawn, made.traces, made.layout);
    };
    form.addEventListener("change", show);
    form.addEventListener("submit", (event) => event.preventDefault());
    show(); // a browser may have kept the reader's choices over a reload
  }

  function start() {
    document.querySelectorAll("div.kdchoose").forEach(prepare);
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
