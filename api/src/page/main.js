// The page: two streams that are opened again when they end, lists that are read now and then.
import { Unauthorised, document_of, events, setToken } from "./node.js";
import { element } from "./draw.js";
import * as metrics from "./metrics.js";
import * as tasks from "./tasks.js";
const PAUSE_MS_MAX = 10_000, LIST_PERIOD_MS = 3000;
const by = (id) => document.getElementById(id);
let lost = 0, wake = () => {};

function say(text) { by("connection").textContent = lost ? `${text}; ${lost} spans lost` : text; }
function refused() { by("ask").hidden = false; by("refused").textContent = "The node refuses without its token."; say("token needed"); }
async function follow(path, on, signal) {
  let pause_ms = 250;
  while (!signal?.aborted) {
    try {
      await events(path, on, () => { pause_ms = 250; by("ask").hidden = true; say("live"); }, signal);
    } catch (error) {
      if (signal?.aborted) return;
      if (error instanceof Unauthorised) { refused(); await new Promise((done) => { const before = wake; wake = () => { before(); done(); }; }); continue; }
    }
    if (signal?.aborted) return;
    metrics.forget();
    say("reconnecting");
    await new Promise((done) => setTimeout(done, pause_ms));
    pause_ms = Math.min(pause_ms * 2, PAUSE_MS_MAX);
  }
}
function fill(id, lines) { by(id).replaceChildren(...lines.map((line) => element("li", line))); }
async function lists() {
  try {
    const node = await document_of("/v0/node");
    by("node").textContent = `${node.listen} · version ${node.version} · ${node.shards.length} of ${node.shards_configured} shards`;
    const artifacts = (await document_of("/v0/artifacts")).artifacts;
    fill("artifacts", artifacts.length ? artifacts.map((one) => `${one.names.join(", ") || "unnamed"} ${one.digest.slice(0, 19)}`) : ["None yet: vyr artifact put FILE"]);
    fill("state-list", (await document_of("/v0/states")).states.map((one) => `${one.id}: ${one.keys} keys, ${one.bytes} B`));
  } catch { /* The streams say that the node is away. */ }
  setTimeout(lists, LIST_PERIOD_MS);
}
let watching = new AbortController();
function choose() {
  watching.abort();
  watching = new AbortController();
  const id = /^#task=(\w+)$/.exec(location.hash)?.[1];
  tasks.begin(id);
  if (id) follow(`/v0/traces?task=${id}`, (event, span) => { if (event === "span") tasks.draw(span); }, watching.signal);
}
function close() { location.hash = ""; by("filter").focus(); }
by("close").addEventListener("click", close);
by("ask").addEventListener("submit", (event) => { event.preventDefault(); setToken(by("token").value); const go = wake; wake = () => {}; go(); });
addEventListener("hashchange", choose);
addEventListener("keydown", (event) => {
  if (event.key === "Escape") close();
  if (event.key === "/" && event.target.tagName !== "INPUT") { event.preventDefault(); by("filter").focus(); }
});
choose();
lists();
follow("/v0/metrics?interval=1s", (event, data) => { if (event === "metrics") metrics.take(data); });
follow("/v0/traces", (event, data) => { if (event === "lost") { lost += data.spans; say("live"); } else if (event === "span") tasks.add(data); });
