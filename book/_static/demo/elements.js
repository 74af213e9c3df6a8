/** Small pieces of the page: elements, sliders, and rows of choices of which one holds. All are native inputs, so the keyboard works. */

/**
 * @param {string} tag
 * @param {Record<string, unknown>} properties of the element; `dataset` and names with a dash become attributes
 * @param {...(Node | string)} children
 */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-")) made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children);
  return made;
}

/**
 * A row of choices.
 * @param {string} name unique in the page
 * @param {string} legend
 * @param {{value: string, label: string | Node, title?: string}[]} choices
 * @param {(value: string) => void} onChange
 * @returns {{fieldset: HTMLFieldSetElement, value: string | undefined, input: (value: string) => HTMLInputElement}}
 */
export function choices(name, legend, choices, onChange, className = "demo-segments") {
  const fieldset = element("fieldset", { className }, element("legend", {}, legend));
  const row = element("div", {});
  fieldset.append(row);
  for (const { value, label, title } of choices) {
    const input = element("input", { type: "radio", name, value, className: "demo-unseen" });
    if (title) input.setAttribute("aria-label", title);
    input.addEventListener("change", () => onChange(value));
    row.append(element("label", {}, input, typeof label === "string" ? element("span", {}, label) : label));
  }
  const inputs = () => [...row.querySelectorAll("input")];
  return {
    fieldset,
    get value() {
      return inputs().find((input) => input.checked)?.value;
    },
    set value(wanted) {
      for (const input of inputs()) input.checked = input.value === wanted;
    },
    input: (value) => inputs().find((input) => input.value === value),
  };
}

/**
 * A labelled slider with its value in words.
 * @param {string} label
 * @param {(value: number) => string} inWords
 * @param {(value: number) => void} onInput
 */
export function slider(label, inWords, onInput) {
  const input = element("input", { type: "range", step: "any" });
  const output = element("output", {});
  const row = element("label", { className: "demo-slider" }, element("span", {}, label), input, output);
  const say = () => {
    output.textContent = inWords(input.valueAsNumber);
    input.setAttribute("aria-valuetext", output.textContent);
  };
  input.addEventListener("input", () => {
    say();
    onInput(input.valueAsNumber);
  });
  return {
    row,
    input,
    /** @param {[number, number]} range @param {number} value */
    set([low, high], value) {
      Object.assign(input, { min: low, max: high, step: (high - low) / 100 });
      input.value = value;
      say();
    },
  };
}

/** A button. @param {string} label @param {() => void} onClick */
export function button(label, onClick) {
  const made = element("button", { type: "button", className: "demo-button" }, label);
  made.addEventListener("click", onClick);
  return made;
}
