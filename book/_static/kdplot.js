// Draws the figures that kdlib.views.plotting left in the page as <div class="kdplot"><script type="application/json">.
// plotly.min.js, beside this file, is loaded once and only on pages with figures. A figure is drawn when it comes near the
// window (or is unfolded, or the page is printed), in the colours of the theme, and again when the reader switches theme.
(() => {
  "use strict";
  const plotlyUrl = document.currentScript.src.replace(/kdplot\.js.*$/, "plotly.min.js");
  const drawn = new Set();
  // kdlib.views.plotting's colours on the left; on the right the lighter ones of the same hue that stand in for them on a dark page.
  const IN_DARK = { "#0072B2": "#62BDF0", "#D55E00": "#F28E3C", "#009E73": "#14A97A", "#CC79A7": "#E3A0C5" };

  function loadPlotly() {
    return new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = plotlyUrl;
      script.onload = () => resolve(window.Plotly);
      script.onerror = () => reject(new Error(`cannot load ${plotlyUrl}`));
      document.head.append(script);
    });
  }

  // The figure in the theme's colours: they go into its template, so that what a figure sets itself still wins.
  function inTheme(json) {
    const style = getComputedStyle(document.documentElement);
    const read = (name, fallback) => style.getPropertyValue(name).trim() || fallback;
    const text = read("--pst-color-text-base", "#222832");
    const ground = read("--pst-color-on-background", "#ffffff");
    const line = read("--kd-rule", "#d5dae1");
    if (document.documentElement.dataset.theme === "dark") {
      json = json.replace(/"#[0-9A-F]{6}"/g, (colour) => (colour.slice(1, -1) in IN_DARK ? `"${IN_DARK[colour.slice(1, -1)]}"` : colour));
    }
    const { data, layout } = JSON.parse(json);
    const base = ((layout.template ??= {}).layout ??= {});
    base.font = { ...base.font, color: text };
    for (const axis of ["xaxis", "yaxis"]) {
      base[axis] = { ...base[axis], gridcolor: line, linecolor: line, zerolinecolor: line, tickcolor: line };
    }
    base.hoverlabel = { ...base.hoverlabel, bgcolor: ground, bordercolor: line, font: { ...base.hoverlabel?.font, color: text } };
    base.modebar = { bgcolor: "rgba(0,0,0,0)", color: line, activecolor: text };
    layout.uirevision ??= "reader"; // keeps the reader's zoom over a change of theme
    return { data, layout, config: CONFIG };
  }

  const CONFIG = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };

  const source = (element) => element.querySelector("script[type='application/json']").textContent;

  function draw(plotly, element) {
    if (drawn.has(element)) return;
    drawn.add(element);
    const frame = document.createElement("div");
    element.append(frame);
    plotly.newPlot(frame, inTheme(source(element)));
  }

  function redraw(plotly) {
    for (const element of drawn) {
      plotly.react(element.querySelector(".js-plotly-plot"), inTheme(source(element)));
    }
  }

  async function start() {
    const figures = [...document.querySelectorAll("div.kdplot")];
    if (figures.length === 0) return;
    let plotly;
    try {
      plotly = await loadPlotly();
    } catch (error) {
      for (const element of figures) element.append(`This figure could not be drawn: ${error.message}`);
      return;
    }
    const watcher = new IntersectionObserver(
      (entries) => {
        for (const { isIntersecting, target } of entries) {
          if (!isIntersecting) continue;
          watcher.unobserve(target);
          draw(plotly, target);
        }
      },
      { rootMargin: "600px 0px" },
    );
    for (const element of figures) watcher.observe(element);
    window.addEventListener("beforeprint", () => figures.forEach((element) => draw(plotly, element)));
    new MutationObserver(() => redraw(plotly)).observe(document.documentElement, {
      attributes: true,
      attributeFilter: ["data-theme"],
    });
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
