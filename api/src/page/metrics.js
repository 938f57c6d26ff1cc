// What a shard's metrics say: gauges as they are, everything else as it grew between its last two events.
// Nothing here draws.

const value = (one) => one.value.counter ?? one.value.time_counter;

/** The series of an event by metric, and in it by labels. */
function indexed(data) {
  const families = data.families.map((family) =>
    [family.name, new Map(family.series.map((one) => [String(one.labels ?? ""), one]))]);
  return { unix_ms: data.unix_ms, families: new Map(families) };
}

/** Whether the process is a new one: then something it counts is less than before. */
function isNewProcess(before, now) {
  for (const [name, series] of now.families) {
    for (const [labels, one] of series) {
      const was = before.families.get(name)?.get(labels);
      if (was && value(one) < value(was)) return true;
    }
  }
  return false;
}

export const label = (one, key) => one.labels?.find(([name]) => name === key)?.[1];

/** The sum of what is known; not known when nothing is. */
const sum = (numbers) => numbers.filter((one) => one !== undefined).reduce((all, one) => (all ?? 0) + one, undefined);

export class Shard {
  isMissing = false;

  take(data) {
    const now = indexed(data);
    this.isMissing = false;
    this.before = this.now && !isNewProcess(this.now, now) ? this.now : undefined;
    this.now = now;
  }

  /** The next event begins anew. */
  forget() {
    this.before = this.now = undefined;
  }

  lose() {
    this.forget();
    this.isMissing = true;
  }

  series(name) {
    return [...(this.now?.families.get(name)?.values() ?? [])];
  }

  /** A gauge over all its labels. */
  gauge(name) {
    return sum(this.series(name).map((one) => one.value.gauge));
  }

  worst(name) {
    return this.gauge(name);
  }

  /** Growth in each second of the series that are wanted; a time counter grows in seconds. */
  rate(name, isWanted = () => true) {
    const length_s = (this.now?.unix_ms - this.before?.unix_ms) / 1000;
    if (!(length_s > 0)) return undefined;
    return sum(this.series(name).filter(isWanted).map((one) => {
      const was = this.before.families.get(name)?.get(String(one.labels ?? ""));
      const grown = value(one) - (was ? value(was) : 0);
      return grown / length_s / (one.value.time_counter === undefined ? 1 : 1e9);
    }));
  }

  /** The times of the last interval: how many by lowest nanoseconds of their bucket. */
  times(name) {
    const counts = new Map();
    if (!this.before) return counts;
    for (const one of this.series(name)) {
      const was = this.before.families.get(name)?.get(String(one.labels ?? ""));
      const old = new Map(was?.value.histogram.buckets);
      for (const [ns, count] of one.value.histogram.buckets) {
        const grown = count - (old.get(ns) ?? 0);
        if (grown > 0) counts.set(ns, (counts.get(ns) ?? 0) + grown);
      }
    }
    return counts;
  }
}

/** All shards that answer, read like one. */
export class Node {
  shards = new Map();

  shard(number) {
    if (!this.shards.has(number)) this.shards.set(number, new Shard());
    return this.shards.get(number);
  }

  present() {
    return [...this.shards.values()].filter((shard) => !shard.isMissing);
  }

  series(name) {
    return this.present().flatMap((shard) => shard.series(name));
  }

  gauge(name) {
    return sum(this.present().map((shard) => shard.gauge(name)));
  }

  worst(name) {
    const known = this.present().map((shard) => shard.worst(name)).filter((one) => one !== undefined);
    return known.length ? Math.max(...known) : undefined;
  }

  rate(name, isWanted) {
    return sum(this.present().map((shard) => shard.rate(name, isWanted)));
  }

  times(name) {
    const counts = new Map();
    for (const shard of this.present()) {
      for (const [ns, count] of shard.times(name)) counts.set(ns, (counts.get(ns) ?? 0) + count);
    }
    return counts;
  }
}

/** The time that a share of all times does not exceed; not known when there is none. */
export function percentile(times, share) {
  const sorted = [...times].sort((a, b) => a[0] - b[0]);
  let left = Math.max(Math.ceil(share * sorted.reduce((all, [, count]) => all + count, 0)), 1);
  for (const [ns, count] of sorted) {
    left -= count;
    if (left <= 0) return ns;
  }
  return undefined;
}
