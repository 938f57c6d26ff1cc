// The last tasks and the trace of the one that is chosen. Both are bounded.
import { element, svg, time } from "./draw.js";
const TASKS_MAX = 200, SPANS_MAX = 1000;
const rows = document.getElementById("tasks"), filter = document.getElementById("filter");
let spans = new Map();

export function attribute(span, key) {
  const found = span.attributes.find((one) => one.key === key)?.value ?? {};
  return String(Object.values(found)[0] ?? "");
}
const length_ns = (span) => Number(BigInt(span.endTimeUnixNano) - BigInt(span.startTimeUnixNano));

export function add(span) {
  if (span.name !== "task") return;
  const id = attribute(span, "vyr.task.id"), row = element("tr");
  row.tabIndex = 0;
  row.dataset.task = id;
  row.dataset.text = `${id} ${attribute(span, "vyr.artifact.digest")} ${attribute(span, "vyr.task.status")}`;
  for (const text of [id, attribute(span, "vyr.task.status"), attribute(span, "vyr.task.kind"), attribute(span, "vyr.shard"), time(length_ns(span))])
    row.append(element("td", text));
  sift(row);
  const focused = rows.contains(document.activeElement);
  rows.prepend(row);
  while (rows.children.length > TASKS_MAX && !(focused && rows.lastChild === document.activeElement)) rows.lastChild.remove();
  document.getElementById("none").hidden = true;
}
function sift(row) { row.hidden = !row.dataset.text.includes(filter.value.trim()); }
filter.addEventListener("input", () => { for (const row of rows.children) sift(row); });
const open = (row) => { if (row) location.hash = `task=${row.dataset.task}`; };
rows.addEventListener("click", (event) => open(event.target.closest("tr")));
rows.addEventListener("keydown", (event) => {
  const row = event.target.closest("tr");
  if (event.key === "Enter") open(row);
  const step = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
  if (!step) return;
  event.preventDefault();
  let next = row[step];
  while (next?.hidden) next = next[step];
  next?.focus();
});

export function begin(id) {
  spans = new Map();
  document.getElementById("trace").hidden = !id;
  document.getElementById("trace-name").textContent = id ? `Trace of ${id}` : "";
  document.getElementById("spans").replaceChildren(...(id ? [element("li", "No spans of this task are kept, or none have come yet.")] : []));
  if (id) document.getElementById("trace").focus();
}
export function draw(span) {
  if (spans.size >= SPANS_MAX) return;
  spans.set(span.spanId, span);
  const all = [...spans.values()].sort((a, b) => (BigInt(a.startTimeUnixNano) < BigInt(b.startTimeUnixNano) ? -1 : 1));
  const first = BigInt(all[0].startTimeUnixNano);
  const whole = Math.max(...all.map((one) => Number(BigInt(one.endTimeUnixNano) - first)), 1);
  const children = new Map();
  for (const one of all) {
    const parent = spans.has(one.parentSpanId) ? one.parentSpanId : undefined;
    children.set(parent, [...(children.get(parent) ?? []), one]);
  }
  const lines = [], put = (parent, depth) => {
    for (const one of children.get(parent) ?? []) {
      const at = Number(BigInt(one.startTimeUnixNano) - first);
      const text = `${"\u00a0\u00a0".repeat(depth)}${one.name}: at ${time(at)}, took ${time(length_ns(one))}${one.status?.message ? `, ${one.status.message}` : ""}`;
      const bar = svg("rect", { x: (at / whole) * 100, width: Math.max((length_ns(one) / whole) * 100, 0.3), height: 8 });
      const line = element("li", text, svg("svg", { viewBox: "0 0 100 8", preserveAspectRatio: "none", "aria-hidden": "true" }, bar));
      if (one.status) line.className = "failed";
      lines.push(line);
      put(one.spanId, depth + 1);
    }
  };
  put(undefined, 0);
  document.getElementById("spans").replaceChildren(...lines);
}
