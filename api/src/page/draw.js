// Elements and figures. Text of the node is only ever set as text, so it never becomes markup.
const SVG = "http://www.w3.org/2000/svg";
const CHART_HEIGHT = 30;
/** What stands where the node does not say. */
export const UNKNOWN = "–";

export const by = (id) => document.getElementById(id);

export function element(name, attributes, ...children) {
  return filled(document.createElement(name), attributes, children);
}

export function svg(name, attributes, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(made, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

/** Changes a text only if it is another: what a user has marked stays marked. */
export function setText(of, text) {
  if (of.textContent !== text) of.textContent = text;
}

/** Parts of a whole beside or over each other: `[class, start, length]`, as shares of one. */
export function bars(parts) {
  const rects = parts.map(([name, start, length]) =>
    svg("rect", { class: name, x: start * 1000, width: Math.max(length * 1000, 3), height: 10 }));
  const box = { class: "bars", viewBox: "0 0 1000 10", preserveAspectRatio: "none", "aria-hidden": "true" };
  return svg("svg", box, ...rects);
}

/** The last values as a curve that ends at the right edge; a value that is not known stands at nought. */
export function curve(values, count_max) {
  const top = Math.max(...values.map((value) => value ?? 0), 1e-9) * 1.1;
  const first = count_max - values.length;
  const points = values.map((value, at) => `${first + at},${CHART_HEIGHT * (1 - (value ?? 0) / top)}`);
  const area = [`${first},${CHART_HEIGHT}`, ...points, `${count_max - 1},${CHART_HEIGHT}`];
  const box = { class: "curve", viewBox: `0 0 ${count_max - 1} ${CHART_HEIGHT}`, preserveAspectRatio: "none" };
  return svg("svg", { ...box, "aria-hidden": "true" },
    svg("polygon", { points: area.join(" ") }), svg("polyline", { points: points.join(" ") }));
}

const threeDigits = (number) => (number >= 99.95 ? number.toFixed(0) : number.toPrecision(3));

/** A number in the largest unit in which it is at least one. */
function inUnits(number, step, units) {
  let unit = 0;
  while (number >= step * 0.9995 && unit + 1 < units.length) {
    number /= step;
    unit += 1;
  }
  const text = unit ? threeDigits(number) : number.toFixed(0);
  return `${text}${units[unit]}`;
}

const known = (format) => (number) => (number === undefined ? UNKNOWN : format(number));

export const time = known((ns) => inUnits(ns, 1000, ["\u2009ns", "\u2009µs", "\u2009ms", "\u2009s"]));
export const bytes = known((number) => inUnits(number, 1024, ["\u2009B", "\u2009KiB", "\u2009MiB", "\u2009GiB", "\u2009TiB"]));
export const count = known((number) => (number < 10_000 ? number.toFixed(0) : inUnits(number, 1000, ["", "k", "M", "G"])));
export const rate = known((number) => (number > 0 && number < 9.95 ? number.toFixed(1) : count(number)));
export const percent = known((share) => `${(share * 100).toFixed(0)}\u2009%`);

export function ago(ms) {
  const s = Math.max(ms / 1000, 0);
  if (s < 60) return `${s.toFixed(0)} s`;
  return s < 3600 ? `${(s / 60).toFixed(0)} min` : `${(s / 3600).toFixed(0)} h`;
}
