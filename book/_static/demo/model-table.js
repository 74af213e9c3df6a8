/** The table of the two models: what the manifest says of them, and what was measured in this browser. */

import { inMilliseconds, megabytes } from "./model-view.js";

const count = (n) => (n >= 1e6 ? `${Number((n / 1e6).toPrecision(3))} M` : `${Math.round(n / 1e3)} k`);
const ms = (time) => (time === undefined ? "–" : `${inMilliseconds(time)} ms`);

const ROWS = [
  ["weights", (view) => view.entry.parameters, count],
  ["weights of the generator", (view) => view.entry.networks.generator.parameters, count],
  ["MACs of the generator", (view) => view.entry.networks.generator.macs, count],
  ["files", (view) => view.entry.bytes, (bytes) => `${megabytes(bytes)} MB`],
  ["the generator, here", (view) => view.times.picture.value, ms],
  ["a style from a latent, here", (view) => view.times.latent.value, ms],
  ["a style from a reference, here", (view) => view.times.reference.value, ms],
];

/**
 * @param {HTMLTableSectionElement} body filled with a row for each quantity: teacher, student, ratio
 * @param {import("./model-view.js").ModelView} teacher
 * @param {import("./model-view.js").ModelView} student
 */
export function fillTable(body, teacher, student) {
  const rows = ROWS.map(([name, read, write]) => {
    const [large, small] = [read(teacher), read(student)];
    return [name, write(large), write(small), large && small ? `${ratio(large / small)}` : "–"];
  });
  rows.push(["weights stored as", teacher.entry.precision, student.entry.precision, ""]);
  body.replaceChildren(
    ...rows.map(([name, ...cells]) => {
      const row = document.createElement("tr");
      const head = document.createElement("th");
      head.scope = "row";
      head.textContent = name;
      row.append(head, ...cells.map((text) => Object.assign(document.createElement("td"), { textContent: text })));
      return row;
    }),
  );
}

/** @param {number} value */
export const ratio = (value) => `${value.toFixed(value < 10 ? 1 : 0)}×`;
