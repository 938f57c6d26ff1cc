// The page: two streams that are opened again when they end, lists that are read now and then, and keys.
import { ago, by, setText } from "./draw.js";
import { drawArtifacts, drawStates, setArtifacts } from "./lists.js";
import { Node } from "./metrics.js";
import { Refused, Unauthorised, events, hasToken, read, readList, setToken, wait } from "./node.js";
import * as shards from "./shards.js";
import * as tasks from "./tasks.js";
import * as trace from "./trace.js";

const PAUSE_MS_MIN = 250, PAUSE_MS_MAX = 5000;
/** The node sends something on each stream at least every 15 s; metrics come every second. */
const SILENCE_MS_MAX = 20_000, SILENCE_OF_METRICS_MS_MAX = 6000;
const LIST_PERIOD_MS = 3000, RUNNING_PERIOD_MS = 1000, TASKS_PERIOD_MS = 500, INTERVAL_MS = 1000;
const RUNNING_ROWS = 20, ENDED_ROWS = 100;
/** How long a hop's span may come after its task's: it ends when the other shard has passed the answer on. */
const HOP_MS_MAX = 300;
/** A page that nobody has seen for this long lets go of its connections: a browser has six for a node. */
const HIDDEN_MS_MAX = 30_000;

const node = new Node();

// ---- The streams

/** What each stream does now: "live", or why it is not. */
const streams = new Map();

function tell(stream, state) {
  streams.set(stream, state);
  const troubles = [...streams].filter(([, one]) => one !== "live");
  by("connection").dataset.state = troubles.length ? "away" : "live";
  setText(by("connection"), troubles.length ? troubles.map(([name, one]) => `${name}: ${one}`).join("; ") : "live");
}

let given = Promise.withResolvers();

async function tokenGiven() {
  by("ask").hidden = false;
  setText(by("refused"), hasToken() ? "It refuses this one." : "");
  await given.promise;
}

/** Reads a stream until `signal`, opening it again whenever it ends. `opened` may be told each time. */
async function follow(name, path, on, { signal, opened = () => {}, silence_ms = SILENCE_MS_MAX }) {
  let pause_ms = PAUSE_MS_MIN;
  tell(name, "connecting");
  while (!signal.aborted) {
    let trouble = "reconnecting";
    try {
      await events(path, {
        on, silence_ms, signal,
        opened() {
          pause_ms = PAUSE_MS_MIN;
          by("ask").hidden = true;
          opened();
          tell(name, "live");
        },
      });
    } catch (error) {
      if (error instanceof Unauthorised) {
        tell(name, "needs the token");
        await tokenGiven();
        continue;
      }
      if (error instanceof Refused) trouble = `refused, ${error.message}`;
    }
    if (signal.aborted) return;
    tell(name, trouble);
    await wait(pause_ms);
    pause_ms = Math.min(pause_ms * 2, PAUSE_MS_MAX);
  }
}

let isDue = false, drawn_ms = 0;

/** Draws once for all shards whose metrics come about now. */
function drawSoon() {
  if (isDue) return;
  isDue = true;
  setTimeout(() => {
    const now_ms = Date.now(), isNext = now_ms - drawn_ms > INTERVAL_MS / 2;
    isDue = false;
    if (isNext) drawn_ms = now_ms;
    shards.draw(node, isNext);
    drawArtifacts(node);
  }, 100);
}

function onMetrics(event, data) {
  if (event === "metrics") {
    node.shard(data.shard).take(data);
    tasks.setClock(data.unix_ms);
  } else if (event === "missing") node.shard(data.shard).lose();
  drawSoon();
}

function onSpan(event, data) {
  if (event === "span") {
    tasks.take(data);
    // A hop can come so late that its task's own stream is closed.
    trace.take(data);
  } else if (event === "lost") tasks.countLost(data.spans);
}

let watching = new AbortController();

function watch() {
  watching = new AbortController();
  const { signal } = watching;
  // What comes next may be another life of the node: no difference to before.
  const opened = () => { for (const shard of node.shards.values()) shard.forget(); };
  follow("metrics", "/v0/metrics?interval=1s", onMetrics, { signal, opened, silence_ms: SILENCE_OF_METRICS_MS_MAX });
  follow("tasks", "/v0/traces", onSpan, { signal, opened: readEnded });
}

/** What ended while the stream was not open. */
const readEnded = () => read(`/v0/tasks?limit=${ENDED_ROWS}`).then((answer) => tasks.takeEnded(answer.tasks)).catch(() => {});

let hidden;
document.addEventListener("visibilitychange", () => {
  clearTimeout(hidden);
  if (document.hidden) hidden = setTimeout(() => watching.abort(), HIDDEN_MS_MAX);
  else if (watching.signal.aborted) watch();
});

// ---- The lists

async function readLists() {
  const about = await read("/v0/node");
  const uptimes_ms = about.shards.map((shard) => shard.uptime_ms);
  const up = uptimes_ms.length ? `, up ${ago(Math.max(...uptimes_ms))}` : "";
  setText(by("node"), `${about.listen}, version ${about.version}, ${about.shards.length} of ${about.shards_configured} shards${up}`);
  shards.describe(about.shards);
  for (const number of node.shards.keys()) if (number >= about.shards_configured) node.shards.delete(number);
  const artifacts = await readList("artifacts");
  tasks.setNames(artifacts.items);
  setArtifacts(artifacts);
  drawStates(await readList("states"));
}

async function readRunning() {
  tasks.setRunning((await read(`/v0/tasks?status=running&limit=${RUNNING_ROWS}`)).tasks);
}

async function repeat(ask, period_ms) {
  for (;;) {
    // That the node is away, or wants its token, the streams say.
    if (!watching.signal.aborted && by("ask").hidden) await ask().catch(() => {});
    await wait(period_ms);
  }
}

// ---- The chosen task, in the address so that it can be handed on

const chosen = () => /^#task=(\w+)$/.exec(location.hash)?.[1];
let opening = new AbortController();

function open() {
  opening.abort();
  opening = new AbortController();
  streams.delete("trace");
  const id = chosen();
  trace.begin(id, id ? tasks.spansOf(id) : []);
  tasks.draw();
  if (!id) return tell("tasks", streams.get("tasks") ?? "connecting");
  by("trace").focus();
  const here = opening, { signal } = here;
  const end = () => {
    if (here === opening) streams.delete("trace");
    here.abort();
  };
  const on = (event, span) => {
    if (event !== "span") return;
    trace.take(span);
    // A task's own span is its last but for the hop that brought it, if one did; then the connection is free for others.
    if (tasks.stepOf(span) === "task") setTimeout(end, trace.hasParent(span) ? 0 : HOP_MS_MAX);
  };
  return follow("trace", `/v0/traces?task=${id}`, on, { signal });
}

function close() {
  const id = chosen();
  if (!id) return;
  history.pushState(null, "", location.pathname);
  open();
  tasks.focusRow(id);
}

addEventListener("hashchange", open);
by("close").addEventListener("click", close);

// ---- Keys, token, theme

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  // In a filter it clears the text first.
  if (event.key === "Escape" && !event.target.value) close();
  if (event.key === "/" && !event.target.matches("input, select")) {
    event.preventDefault();
    by("filter").focus();
  }
});

by("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  setToken(by("token").value);
  given.resolve();
  given = Promise.withResolvers();
});

const THEME = "vyr.theme";

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  by("theme").value = theme;
}

by("theme").addEventListener("change", () => {
  localStorage.setItem(THEME, by("theme").value);
  setTheme(by("theme").value);
});
const theme = localStorage.getItem(THEME);
setTheme(["light", "dark"].includes(theme) ? theme : "auto");

shards.drawHead();
watch();
repeat(readLists, LIST_PERIOD_MS);
repeat(readRunning, RUNNING_PERIOD_MS);
open();
setInterval(tasks.draw, TASKS_PERIOD_MS);
