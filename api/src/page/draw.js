// Numbers as text, and text and lines as elements; text of the node never becomes markup.
export function element(name, text, ...children) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  made.append(...children);
  return made;
}
export function svg(name, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}
export function time(ns) {
  if (ns === undefined) return "–";
  if (ns < 1e6) return `${(ns / 1e3).toFixed(0)} µs`;
  return ns < 1e9 ? `${(ns / 1e6).toFixed(2)} ms` : `${(ns / 1e9).toFixed(2)} s`;
}
export function list(id, rows) {
  const cells = rows.flatMap(([name, value]) => [element("dt", name), element("dd", value)]);
  document.getElementById(id).replaceChildren(...cells);
}
export function chart(id, values, label) {
  const top = Math.max(...values, 1e-9);
  const points = values.map((value, at) => `${at},${60 - (value / top) * 58}`).join(" ");
  const box = { viewBox: "0 0 59 60", preserveAspectRatio: "none", role: "img", "aria-label": label };
  document.getElementById(id).replaceChildren(svg("svg", box, svg("polyline", { points })));
}
