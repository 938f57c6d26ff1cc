// What the node holds: artifacts with what their tasks use, and states.
import { by, bytes, count, element, percent, rate, time } from "./draw.js";
import { label } from "./metrics.js";

let artifacts = [];

export function setArtifacts({ items, more }) {
  artifacts = items;
  by("artifacts-more").hidden = !more;
}

/** An artifact's metrics go by the first digits of its digest. */
const short = (digest) => digest.slice(0, "sha256:".length + 12);

export function drawArtifacts(node) {
  const isOf = (key) => (one) => label(one, "artifact") === key;
  const used = new Set(node.series("vyr_artifact_tasks").filter((one) => one.value.counter > 0).map((one) => label(one, "artifact")));
  const lines = artifacts.map((one) => [short(one.digest), one.names.join(", ").replaceAll(":latest", "") || "no name", one.kinds.join(", ")]);
  for (const [key] of lines) used.delete(key);
  for (const key of used) lines.push([key, key === "other" ? "others" : "removed", ""]);
  const rows = lines.map(([key, name, kinds]) => {
    const tasks = node.rate("vyr_artifact_tasks", isOf(key));
    const failed = node.rate("vyr_artifact_tasks", (one) => isOf(key)(one) && label(one, "status") !== "succeeded");
    const execute = node.rate("vyr_artifact_execute_seconds", isOf(key));
    const mean_ns = tasks > 0 && execute !== undefined ? (execute / tasks) * 1e9 : undefined;
    return element("tr", {},
      element("th", { scope: "row", title: `${key} ${kinds}` }, name, element("small", {}, key.replace("sha256:", ""))),
      ...[rate(tasks), rate(failed), time(mean_ns), percent(node.rate("vyr_artifact_cpu_seconds", isOf(key)))]
        .map((text) => element("td", { class: "number" }, text)));
  });
  by("artifacts").replaceChildren(...rows);
  by("artifacts-none").hidden = rows.length > 0;
  by("artifacts").parentElement.hidden = rows.length === 0;
}

export function drawStates({ items, more }) {
  const rows = items.map((one) => element("tr", {},
    element("th", { scope: "row", class: "id", title: one.id }, `…${one.id.slice(-8)}`),
    ...[one.shard, count(one.keys), bytes(one.bytes), one.bindings].map((text) => element("td", { class: "number" }, String(text)))));
  by("states").replaceChildren(...rows);
  by("states-none").hidden = rows.length > 0;
  by("states").parentElement.hidden = rows.length === 0;
  by("states-more").hidden = !more;
}
