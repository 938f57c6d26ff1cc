// The tasks that run for a while, and those that ended a short while ago: the newest, and the slowest of
// the last minute. However many tasks a node runs, this stays small.
import { ago, bars, by, count, element, setText, time } from "./draw.js";

const NEWEST_MAX = 100, SLOWEST_MAX = 100, SLOWEST_AGE_MS_MAX = 60_000;
const UNFINISHED_MAX = 512, STEPS_MAX = 64, ROWS_MAX = 100;
/** A task that runs for less is not listed before its end; it would only flicker. */
const RUNNING_MS_MIN = 1000;
const rows = by("tasks"), filter = by("filter"), sort = by("sort");
/** Tasks by id, in the order in which they ended. */
let ended = new Map();
/** Steps of tasks whose end has not come. */
const unfinished = new Map();
/** Names of artifacts by digest. */
let names = new Map();
let running = [];
let isPaused = false, lost = 0;
/** How much the node's clock is ahead of the browser's. */
let ahead_ms = 0;

const now_ms = () => Date.now() + ahead_ms;

export function setClock(unix_ms) {
  ahead_ms = unix_ms - Date.now();
}

export function attribute(span, key) {
  const value = span.attributes.find((one) => one.key === key)?.value ?? {};
  return String(Object.values(value)[0] ?? "");
}

export const start_ns = (span) => BigInt(span.startTimeUnixNano);
export const end_ns = (span) => BigInt(span.endTimeUnixNano);
export const length_ns = (span) => Number(end_ns(span) - start_ns(span));

export const nameOf = (digest) => names.get(digest) ?? digest.replace("sha256:", "").slice(0, 12);

/** Which step of its task a span is; the names of guests' own say nothing. */
export const stepOf = (span) => attribute(span, "vyr.step");

/** What went wrong, in a word: for a response that is an error its HTTP status. */
export const errorOf = (span) => (span.status?.code === 2 ? span.status.message || attribute(span, "error.type") : "");

/** The colour of a step; what guests record has one of its own. */
export function stepClass(span) {
  if (span.status?.code === 2) return "failed";
  if (span.kind === 3) return "out";
  return stepOf(span);
}

export function setNames(artifacts) {
  names = new Map(artifacts.filter((one) => one.names.length).map((one) => [one.digest, one.names[0].replace(/:latest$/, "")]));
}

/** The spans of a task that came. */
export const spansOf = (id) => (ended.get(id)?.isWhole ? ended.get(id).spans : unfinished.get(id)) ?? [];

export function countLost(spans) {
  lost += spans;
}

export function take(span) {
  const id = attribute(span, "vyr.task.id");
  if (!id || ended.get(id)?.isWhole || isPaused) return;
  const spans = unfinished.get(id) ?? [];
  if (stepOf(span) !== "task") {
    if (spans.length < STEPS_MAX && !spans.some((one) => one.spanId === span.spanId)) spans.push(span);
    unfinished.set(id, spans);
    if (unfinished.size > UNFINISHED_MAX) unfinished.delete(unfinished.keys().next().value);
    return;
  }
  unfinished.delete(id);
  ended.set(id, {
    id,
    artifact: attribute(span, "vyr.artifact.digest"),
    status: attribute(span, "vyr.task.status"),
    error: errorOf(span),
    end_ms: Number(end_ns(span) / 1_000_000n),
    took_ns: length_ns(span),
    start_ns: start_ns(span),
    spans: [...spans, span],
    isWhole: true,
  });
  if (ended.size > 2 * (NEWEST_MAX + SLOWEST_MAX)) forgetOld();
}

/** Tasks of `/v0/tasks` that ended while no stream was open. Of their steps these tell the lengths only. */
export function takeEnded(documents) {
  for (const one of documents) {
    if (!one.ended_ms || ended.has(one.id)) continue;
    const steps = ["queue", "instantiate", "execute"].map((name) => [name, one.usage[`${name}_us`] * 1000]);
    const sum_ns = steps.reduce((sum, [, ns]) => sum + ns, 0);
    let at_ns = BigInt(one.submitted_ms) * 1_000_000n;
    ended.set(one.id, {
      id: one.id,
      artifact: one.artifact ?? "",
      status: one.status,
      error: one.error?.code ?? "",
      end_ms: one.ended_ms,
      took_ns: Math.max((one.ended_ms - one.submitted_ms) * 1e6, sum_ns),
      start_ns: at_ns,
      spans: steps.map(([name, ns]) => {
        const attributes = [{ key: "vyr.step", value: { stringValue: name } }];
        const span = { name, attributes, startTimeUnixNano: at_ns, endTimeUnixNano: at_ns + BigInt(ns) };
        at_ns = span.endTimeUnixNano;
        return span;
      }),
      isWhole: false,
    });
  }
}

/** Tasks of `/v0/tasks` that run. */
export function setRunning(documents) {
  if (isPaused) return;
  const long = documents.filter((one) => now_ms() - one.submitted_ms > RUNNING_MS_MIN);
  running = long.map((one) => ({ id: one.id, artifact: one.artifact ?? "", status: one.status, error: "", submitted_ms: one.submitted_ms }));
}

function forgetOld() {
  const all = [...ended.values()].sort((a, b) => a.end_ms - b.end_ms), focused = focusedRow()?.dataset.task;
  const oldest_ms = now_ms() - SLOWEST_AGE_MS_MAX;
  const slowest = all.slice(0, -NEWEST_MAX).filter((task) => task.end_ms > oldest_ms);
  const kept = new Set(slowest.sort((a, b) => b.took_ns - a.took_ns).slice(0, SLOWEST_MAX));
  for (const task of all.slice(-NEWEST_MAX)) kept.add(task);
  ended = new Map(all.filter((task) => kept.has(task) || task.id === focused).map((task) => [task.id, task]));
}

const focusedRow = () => (rows.contains(document.activeElement) ? document.activeElement.closest("tr") : null);

/** The tasks to show, in order. */
function wanted() {
  const text = filter.value.trim().toLowerCase();
  const has = (task) => `${task.id} ${nameOf(task.artifact)} ${task.artifact} ${task.status} ${task.error}`.toLowerCase().includes(text);
  const order = sort.value === "slowest" ? (a, b) => b.took_ns - a.took_ns : (a, b) => b.end_ms - a.end_ms;
  const still = running.filter((task) => !ended.has(task.id));
  return [...still.filter(has), ...[...ended.values()].filter(has).sort(order)];
}

/** Draws the rows anew around the one that has the focus, which is never taken out of the page. */
export function draw() {
  forgetOld();
  const all = wanted(), shown = all.slice(0, ROWS_MAX);
  const focused = focusedRow();
  if (focused && !shown.some((task) => task.id === focused.dataset.task)) {
    const task = ended.get(focused.dataset.task) ?? running.find((one) => one.id === focused.dataset.task);
    if (task) shown.splice(ROWS_MAX - 1, 1, task);
  }
  const old = new Map([...rows.rows].map((row) => [row.dataset.task, row]));
  for (const task of shown) if (!old.has(task.id)) old.set(task.id, newRow(task));
  const inOrder = shown.map((task) => old.get(task.id));
  inOrder.forEach((row, at) => update(row, shown[at]));
  const kept = new Set(inOrder);
  for (const row of [...rows.rows]) if (!kept.has(row)) row.remove();
  putInOrder(inOrder, focused);
  // One stop for the tabulator: the row that had the focus last, or the first.
  const links = [...rows.querySelectorAll("a")];
  if (links.length && !links.some((link) => link.tabIndex === 0)) links[0].tabIndex = 0;
  by("none").hidden = rows.rows.length > 0 || filter.value !== "";
  const skipped = lost ? `, ${count(lost)} spans skipped` : "";
  setText(by("shown"), all.length ? `${shown.length} of ${all.length}${isPaused ? ", paused" : ""}${skipped}` : "");
}

/** Moves as few rows as it can, and never the focused one: it would lose the focus. */
function putInOrder(wanted, focused) {
  let at = rows.firstElementChild;
  for (const row of wanted) {
    while (row === focused && at !== focused) {
      const next = at.nextElementSibling;
      rows.append(at);
      at = next;
    }
    if (row === at) at = at.nextElementSibling;
    else rows.insertBefore(row, at);
  }
}

function newRow(task) {
  const link = element("a", { href: `#task=${task.id}`, tabindex: -1, title: task.id }, `…${task.id.slice(-8)}`);
  return element("tr", { "data-task": task.id },
    element("td", { class: "id" }, link),
    element("td", { class: "artifact", title: task.artifact }),
    element("td", { class: "status" }),
    element("td", { class: "number" }),
    element("td", { class: "number ago" }),
    element("td", { class: "steps" }));
}

function update(row, task) {
  const [, artifact, status, took, since, steps] = row.cells;
  const isRunning = task.end_ms === undefined;
  setText(artifact, nameOf(task.artifact));
  setText(status, task.error || task.status);
  setText(took, time(isRunning ? Math.max(now_ms() - task.submitted_ms, 0) * 1e6 : task.took_ns));
  setText(since, isRunning ? "" : ago(now_ms() - task.end_ms));
  row.classList.toggle("failed", !isRunning && (task.status !== "succeeded" || task.error !== ""));
  row.classList.toggle("running", isRunning);
  row.setAttribute("aria-current", String(location.hash === `#task=${task.id}`));
  if (!isRunning && row.drawn !== task) {
    row.drawn = task;
    status.title = task.error;
    steps.title = inWords(task);
    steps.replaceChildren(strip(task));
  }
}

const stepsOf = (task) => task.spans.filter((span) => !["task", "forward"].includes(stepOf(span)))
  .sort((a, b) => (start_ns(a) < start_ns(b) ? -1 : 1));

/** The steps as parts of the task's time; a call to another host lies over the execution it is part of. */
function strip(task) {
  const whole = Math.max(task.took_ns, 1);
  return bars(stepsOf(task).map((span) => [stepClass(span), Number(start_ns(span) - task.start_ns) / whole, length_ns(span) / whole]));
}

const inWords = (task) => stepsOf(task).map((span) => `${span.name} ${time(length_ns(span))}`).join(", ");

/** Moves the focus: to the row of a task, or to the first one. */
export function focusRow(id) {
  const row = [...rows.rows].find((one) => one.dataset.task === id) ?? rows.rows[0];
  focusLink(row?.querySelector("a"));
}

function focusLink(link) {
  if (!link) return;
  for (const other of rows.querySelectorAll('a[tabindex="0"]')) other.tabIndex = -1;
  link.tabIndex = 0;
  link.focus();
}

const PAGE = 10;
const steps_of_key = { ArrowDown: 1, ArrowUp: -1, PageDown: PAGE, PageUp: -PAGE, Home: -ROWS_MAX, End: ROWS_MAX };
rows.addEventListener("keydown", (event) => {
  const step = steps_of_key[event.key], row = focusedRow();
  if (!step || !row) return;
  event.preventDefault();
  const at = Math.min(Math.max(row.sectionRowIndex + step, 0), rows.rows.length - 1);
  focusLink(rows.rows[at].querySelector("a"));
});
rows.addEventListener("click", (event) => {
  const row = event.target.closest("tr");
  if (row && !event.target.closest("a")) location.hash = `task=${row.dataset.task}`;
});
filter.addEventListener("input", draw);
filter.addEventListener("keydown", (event) => {
  if (event.key !== "ArrowDown") return;
  event.preventDefault();
  focusRow();
});
sort.addEventListener("change", draw);
by("pause").addEventListener("click", () => {
  isPaused = !isPaused;
  by("pause").setAttribute("aria-pressed", String(isPaused));
  draw();
});
