"""What the tests that look at pages in Chromium share: windows, patience, what is legible and what fits."""

HARMLESS = ("Got invalid theme mode",)  # the theme, once in a fresh profile; it then takes the system's
DESK, PHONE = (1280, 900), (390, 844)
TEXT_CONTRAST = 4.5  # WCAG 2.1, level AA

# What a reader cannot read: elements with text of their own, and text drawn by plotly, against the ground they stand on.
LEGIBILITY = """
(least) => {
  const channels = (colour) => { const [r, g, b, a = 1] = colour.match(/[\\d.]+/g).map(Number); return { rgb: [r, g, b], a }; };
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const over = (top, below) => top.rgb.map((v, i) => top.a * v + (1 - top.a) * below[i]);
  const groundOf = (element) => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) {
      const layer = channels(getComputedStyle(e).backgroundColor);
      if (layer.a > 0) layers.push(layer);
      if (layer.a === 1) break;
    }
    return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
  };
  const faults = [];
  for (const e of document.querySelectorAll(".bd-article *, .bd-sidebar-primary *")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.checkVisibility({ visibilityProperty: true, opacityProperty: true })) continue;
    if (e.closest("script, style, noscript, mjx-container, .visually-hidden")) continue;
    const style = getComputedStyle(e);
    const svg = e instanceof SVGElement;
    if (svg && (!e.closest(".kdplot") || e.closest(".mlayer"))) continue; // drawings, and marks of a plot, bring their ground
    const text = channels(svg ? style.fill : style.color);
    const ground = groundOf(svg ? e.closest(".kdplot") : e);
    const [low, high] = [luminance(over(text, ground)), luminance(ground)].sort((a, b) => a - b);
    const contrast = (high + 0.05) / (low + 0.05);
    const kind = `${e.tagName} ${e.getAttribute("class") ?? ""}`;
    if (contrast < least) faults.push(`${contrast.toFixed(1)}: ${kind} "${e.textContent.trim().slice(0, 40)}"`);
  }
  return [...new Set(faults)];
}
"""


def sideways(page) -> int:
    """Pixels by which the page is wider than its window."""
    return page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
