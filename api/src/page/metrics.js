// Rates and percentiles: what changed between a shard's last two events.
import { chart, list, time } from "./draw.js";
const HISTORY = 60;
const shards = new Map();
const rates = [], tails = [];

export function forget() { shards.clear(); }

export function take(data) {
  shards.set(data.shard, { before: shards.get(data.shard)?.now, now: data });
  if (data.shard === Math.min(...shards.keys())) show();
}
function series(data, name) { return data?.families.find((family) => family.name === name)?.series ?? []; }
function gauge(name) {
  const found = [...shards.values()].flatMap(({ now }) => series(now, name));
  return found.length ? found.reduce((sum, one) => sum + one.value.gauge, 0) : "–";
}
function value(one) { return one.value.counter ?? one.value.time_counter ?? 0; }
/** Growth in each second of the series that `wanted` admits. A value that fell began again at nought. */
function rate({ before, now }, name, wanted = () => true) {
  if (!before) return 0;
  const old = new Map(series(before, name).map((one) => [String(one.labels), value(one)]));
  let grown = 0;
  for (const one of series(now, name).filter(wanted)) {
    const was = old.get(String(one.labels)) ?? 0;
    grown += value(one) - (value(one) < was ? 0 : was);
  }
  return (grown * 1000) / Math.max(now.unix_ms - before.unix_ms, 1);
}
function total(name, wanted) { return [...shards.values()].reduce((sum, shard) => sum + rate(shard, name, wanted), 0); }
function buckets() {
  const all = new Map();
  const add = (data, sign) => {
    for (const one of series(data, "vyr_task_seconds"))
      for (const [ns, count] of one.value.histogram.buckets) all.set(ns, (all.get(ns) ?? 0) + sign * count);
  };
  for (const { before, now } of shards.values()) if (before) { add(now, 1); add(before, -1); }
  return [...all].filter(([, count]) => count > 0).sort((a, b) => a[0] - b[0]);
}
function percentile(sorted, share) {
  let left = Math.ceil(share * sorted.reduce((sum, [, count]) => sum + count, 0));
  for (const [ns, count] of sorted) if ((left -= count) <= 0) return ns;
  return undefined;
}
function push(history, next) { history.push(next); if (history.length > HISTORY) history.shift(); }
function show() {
  const succeeded = (one) => one.labels.some(([key, text]) => key === "status" && text === "succeeded");
  const ok = total("vyr_tasks", succeeded), failed = total("vyr_tasks", (one) => !succeeded(one));
  const each = (number) => `${number.toFixed(0)} /s`;
  list("rates", [["succeeded", each(ok)], ["not succeeded", each(failed)], ["refused", each(total("vyr_tasks_refused"))]]);
  push(rates, ok + failed);
  chart("rate-chart", rates, `Tasks in each second, now ${each(ok + failed)}`);
  const sorted = buckets(), p99 = percentile(sorted, 0.99);
  const shares = [["p50", 0.5], ["p90", 0.9], ["p99", 0.99], ["p99.9", 0.999], ["max", 1]];
  list("latency", shares.map(([name, share]) => [name, time(percentile(sorted, share))]));
  push(tails, p99 ?? 0);
  chart("latency-chart", tails, `p99 over the last minute, now ${time(p99)}`);
  list("cores", [...shards].sort((a, b) => a[0] - b[0]).map(([number, shard]) => {
    const known = shard.before && series(shard.now, "vyr_executor_cpu_seconds").length;
    return [`shard ${number}`, known ? `${(rate(shard, "vyr_executor_cpu_seconds") / 1e7).toFixed(0)} %` : "–"];
  }));
  list("pools", [["live", gauge("vyr_instances_live")], ["idle", gauge("vyr_instances_idle")],
    ["running", gauge("vyr_tasks_running")], ["queued", gauge("vyr_tasks_queued")]]);
  list("states", [["states", gauge("vyr_states")], ["keys", gauge("vyr_state_keys")], ["bytes", gauge("vyr_state_bytes")]]);
}
