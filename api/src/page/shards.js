// The node in numbers: large ones with their last minute, and a row for each shard.
import { by, bytes, count, curve, element, percent, rate, setText, time } from "./draw.js";
import { label, percentile } from "./metrics.js";

const HISTORY_MAX = 60;
/** From here on a core has little left. */
const BUSY_HIGH = 0.85;

const succeeded = (one) => label(one, "status") === "succeeded";
const notSucceeded = (one) => !succeeded(one);
const exported = (one) => label(one, "outcome") === "exported";
const dropped = (one) => label(one, "outcome")?.startsWith("dropped") ?? false;
const records = ["vyr_trace_records", "vyr_log_records", "vyr_guest_spans"];
const recordRate = (of, isWanted) => {
  const rates = records.map((name) => of.rate(name, isWanted)).filter((one) => one !== undefined);
  return rates.length ? rates.reduce((all, one) => all + one, 0) : undefined;
};
const busy = (of) => of.rate("vyr_executor_cpu_seconds");
const stall = (of) => {
  const s = of.worst("vyr_executor_stall_seconds");
  return s === undefined ? undefined : s * 1e9;
};

/** Group, name, what it means, and its text for a shard or for all. */
const COLUMNS = [
  ["tasks /s", "ok", "Tasks that succeeded, each second", (of) => rate(of.rate("vyr_tasks", succeeded))],
  ["tasks /s", "failed", "Tasks that failed, were cancelled or timed out, each second", (of) => rate(of.rate("vyr_tasks", notSucceeded))],
  ["tasks /s", "refused", "Tasks refused, each second", (of) => rate(of.rate("vyr_tasks_refused"))],
  ...times("time", "vyr_task_seconds", "From the arrival of a task to its end"),
  ...times("in queue", "vyr_task_queue_seconds", "Time tasks waited for their turn"),
  ["now", "run", "Tasks that run now", (of) => count(of.gauge("vyr_tasks_running"))],
  ["now", "wait", "Tasks that wait now", (of) => count(of.gauge("vyr_tasks_queued"))],
  ["instances", "live", "Instances in the pool", (of) => count(of.gauge("vyr_instances_live"))],
  ["instances", "idle", "Instances that wait for their next task", (of) => count(of.gauge("vyr_instances_idle"))],
  ["instances", "max", "Instances that the pool can hold", (of) => count(of.gauge("vyr_instances_live_max"))],
  ["states", "n", "States that exist", (of) => count(of.gauge("vyr_states"))],
  ["states", "keys", "Keys of all states", (of) => count(of.gauge("vyr_state_keys"))],
  ["states", "size", "Bytes of all states", (of) => bytes(of.gauge("vyr_state_bytes"))],
  ["process", "conn", "Connections open, those of other shards included", (of) => count(of.gauge("vyr_connections"))],
  ["process", "memory", "Resident memory", (of) => bytes(of.gauge("vyr_memory_resident_bytes"))],
  ["process", "stall", "Longest time in which the executor did not look at its I/O", (of) => time(stall(of))],
  ["records /s", "sent", "Trace and log records exported, each second", (of) => rate(recordRate(of, exported))],
  ["records /s", "lost", "Trace and log records dropped, each second", (of) => rate(recordRate(of, dropped))],
];

function times(group, metric, meaning) {
  return [["p50", 0.5], ["p99", 0.99], ["p99.9", 0.999]].map(([name, share]) =>
    [group, name, `${meaning}: ${name} of the last second`, (of) => time(percentile(of.times(metric), share))]);
}

const TILES = [
  {
    name: "Tasks", unit: "/s", of: (node) => node.rate("vyr_tasks"), text: rate,
    more: (node) => [["failed", rate(node.rate("vyr_tasks", notSucceeded))], ["refused", rate(node.rate("vyr_tasks_refused"))],
      ["cold", rate(node.rate("vyr_cold_starts"))]],
  },
  {
    name: "Time, p99", unit: "", of: (node) => percentile(node.times("vyr_task_seconds"), 0.99), text: time,
    more: (node) => {
      const all = node.times("vyr_task_seconds");
      return [["p50", time(percentile(all, 0.5))], ["p99.9", time(percentile(all, 0.999))], ["max", time(percentile(all, 1))]];
    },
  },
  {
    name: "Cores, busy", unit: "", text: (cores) => (cores === undefined ? percent(cores) : cores.toFixed(2)), of: busy,
    more: (node) => [["of", String(node.present().length)], ["stall", time(stall(node))]],
  },
  {
    name: "Running", unit: "", of: (node) => node.gauge("vyr_tasks_running"), text: count,
    more: (node) => [["waiting", count(node.gauge("vyr_tasks_queued"))], ["connections", count(node.gauge("vyr_connections"))],
      ["memory", bytes(node.gauge("vyr_memory_resident_bytes"))]],
  },
];

const histories = TILES.map(() => []);
/** What `/v0/node` says of each shard. */
let described = new Map();

export function describe(shards) {
  described = new Map(shards.map((shard) => [shard.shard, shard]));
}

/** Draws the node; `isNext` when another interval is over. */
export function draw(node, isNext) {
  const tiles = TILES.map((tile, at) => {
    const now = tile.of(node), history = histories[at];
    if (isNext) history.push(now);
    if (history.length > HISTORY_MAX) history.shift();
    const more = tile.more(node).map(([name, text]) => element("span", {}, `${name} `, element("b", {}, text)));
    return element("section", { class: "tile" },
      element("h2", {}, tile.name),
      element("p", { class: "large" }, tile.text(now), element("small", {}, ` ${tile.unit}`)),
      element("p", { class: "more" }, ...more),
      curve(history, HISTORY_MAX));
  });
  by("tiles").replaceChildren(...tiles);
  const numbers = [...node.shards.keys()].sort((a, b) => a - b);
  const rows = numbers.map((number) => [String(number), node.shards.get(number), described.get(number)]);
  if (numbers.length > 1) rows.push(["all", node, undefined]);
  const table = by("shards");
  rows.forEach(([name, of, more], at) => fill(table.rows[at] ?? newRow(table), name, of, more));
  while (table.rows.length > rows.length) table.deleteRow(-1);
}

function newRow(table) {
  const row = table.insertRow();
  const bar = element("span", { class: "gauge" }, element("i", {}));
  row.append(element("th", { scope: "row" }), element("td", { class: "busy", "data-name": "busy" }, bar, element("span", {})));
  for (const [group, name] of COLUMNS) row.append(element("td", { "data-name": `${group} ${name}` }));
  return row;
}

function fill(row, name, of, more) {
  const [head, busyCell, ...cells] = row.cells;
  row.dataset.shard = name;
  row.classList.toggle("missing", of.isMissing === true);
  setText(head, more?.life ? `${name} ↻${more.life}` : name);
  head.title = more ? `cpu ${more.cpu}, process ${more.pid}, ${more.executor}, started again ${more.life} times` : "";
  const share = name === "all" ? busyOfAll(of) : busy(of);
  const shown = Math.min(share ?? 0, 1);
  busyCell.firstChild.firstChild.style.width = `${shown * 100}%`;
  busyCell.classList.toggle("high", shown > BUSY_HIGH);
  setText(busyCell.lastChild, of.isMissing ? "not answering" : percent(share));
  cells.forEach((cell, at) => setText(cell, COLUMNS[at][3](of)));
}

function busyOfAll(node) {
  const cores = busy(node);
  return cores === undefined ? undefined : cores / node.present().length;
}

/** The head of the table: groups, and under them names. */
export function drawHead() {
  const groups = element("tr", {}, element("th", {}), element("th", {}));
  const names = element("tr", {}, element("th", { scope: "col" }, "shard"), element("th", { scope: "col", class: "busy" }, "busy"));
  COLUMNS.forEach(([group, name, meaning], at) => {
    const isFirst = COLUMNS[at - 1]?.[0] !== group;
    if (isFirst) {
      const colspan = COLUMNS.filter(([other]) => other === group).length;
      groups.append(element("th", { scope: "colgroup", colspan }, group));
    }
    names.append(element("th", { scope: "col", title: meaning }, name));
  });
  by("shards-head").replaceChildren(groups, names);
}
