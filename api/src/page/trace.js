// The trace of the chosen task as a waterfall: each step under the one it is part of.
import { bars, by, element, setText, time } from "./draw.js";
import { attribute, end_ns, errorOf, length_ns, nameOf, start_ns, stepClass, stepOf } from "./tasks.js";

const SPANS_MAX = 500;
const TICKS = 4;
let task, spans = new Map(), isDue = false;

/** Begins a task's trace with the spans that are known; without an id it closes. */
export function begin(id, known) {
  task = id;
  spans = new Map(known.map((span) => [span.spanId, span]));
  by("trace").hidden = !id;
  if (id) draw();
}

/** Whether the span that a span is part of has come, or there is none. */
export const hasParent = (span) => !span.parentSpanId || spans.has(span.parentSpanId);

/** Takes a span, if it is of the task whose trace is shown. */
export function take(span) {
  if (attribute(span, "vyr.task.id") !== task) return;
  if (spans.size >= SPANS_MAX || spans.has(span.spanId)) return;
  spans.set(span.spanId, span);
  if (isDue) return;
  isDue = true;
  setTimeout(() => { isDue = false; draw(); }, 50);
}

function draw() {
  const all = [...spans.values()].sort((a, b) => (start_ns(a) < start_ns(b) ? -1 : 1));
  const whole = all.find((span) => stepOf(span) === "task");
  setText(by("trace-id"), task ?? "");
  by("trace-facts").replaceChildren(...facts(whole ?? all[0]).map((fact) => element("span", {}, fact)));
  by("trace-facts").classList.toggle("failed", whole?.status?.code === 2);
  by("trace-none").hidden = all.length > 0;
  // Records are kept for a while, and a task's first step is the first that goes.
  by("trace-partial").hidden = !whole || all.some((span) => stepOf(span) === "submit");
  by("spans-table").hidden = all.length === 0;
  if (!all.length) return;
  const begin = start_ns(all[0]);
  const length = Math.max(...all.map((span) => Number(end_ns(span) - begin)), 1);
  const ticks = Array.from({ length: TICKS }, (_, at) => element("span", {}, time(Math.round((length * at) / TICKS))));
  by("ticks").replaceChildren(...ticks);
  by("spans").replaceChildren(...inOrder(all).flatMap(([span, depth]) => rowsOf(span, depth, begin, length)));
}

function facts(span) {
  if (!span) return [];
  const texts = [nameOf(attribute(span, "vyr.artifact.digest")), `shard ${attribute(span, "vyr.shard")}`];
  if (stepOf(span) === "task") {
    texts.unshift(errorOf(span) || attribute(span, "vyr.task.status"));
    texts.push(attribute(span, "vyr.task.kind"), attribute(span, "faas.coldstart") === "true" ? "cold" : "warm");
  } else {
    texts.unshift("not ended");
  }
  return [...texts, `trace ${span.traceId}`];
}

/** The spans, each before its parts, with how deep it lies. */
function inOrder(all) {
  const parts = Map.groupBy(all, (span) => (spans.has(span.parentSpanId) ? span.parentSpanId : undefined));
  const lines = [];
  const put = (parent, depth) => {
    for (const span of parts.get(parent) ?? []) {
      lines.push([span, depth]);
      put(span.spanId, depth + 1);
    }
  };
  put(undefined, 0);
  return lines;
}

/** A step, and under it what else is known of it. */
function rowsOf(span, depth, begin, length) {
  const at = Number(start_ns(span) - begin);
  const name = element("th", { scope: "row" }, span.name);
  const indent = `calc(5px + ${Math.min(depth, 6) * 0.8}em)`;
  name.style.paddingLeft = indent;
  const step = element("tr", { "data-step": stepOf(span), class: span.status?.code === 2 ? "failed" : undefined },
    name,
    element("td", { class: "bar" }, bars([[stepClass(span), at / length, length_ns(span) / length]])),
    element("td", { class: "number" }, time(at)),
    element("td", { class: "number" }, time(length_ns(span))));
  // What each span has stands above the waterfall already.
  const more = span.attributes.filter((one) => !/^(vyr|faas)\./.test(one.key));
  if (!more.length) return [step];
  const texts = more.map((one) => element("span", {}, `${one.key} `, element("b", {}, String(Object.values(one.value)[0]))));
  const cell = element("td", { colspan: 4 }, ...texts);
  cell.style.paddingLeft = indent;
  return [step, element("tr", { class: "attributes" }, cell)];
}
