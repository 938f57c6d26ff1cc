// Asking the node: documents, their lists, and server-sent events. Events are read with `fetch`, because
// an EventSource can carry no token.
const KEY = "vyr.token";
const PAGES_MAX = 5, PAGE_ROWS = 100;
/** Events each second that are read; the node counts what a reader who is slower misses. */
const EVENTS_PER_SECOND_MAX = 5000;

export class Unauthorised extends Error {}

/** The node answers, but not with what was asked for; the message is the node's. */
export class Refused extends Error {}

export const hasToken = () => sessionStorage.getItem(KEY) !== null;

export const setToken = (token) => sessionStorage.setItem(KEY, token);

export const wait = (ms) => new Promise((done) => setTimeout(done, ms));

async function ask(path, signal) {
  const token = sessionStorage.getItem(KEY);
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  const answer = await fetch(path, { headers, signal });
  if (answer.status === 401) throw new Unauthorised("the node wants its token");
  if (!answer.ok) throw new Refused(await reason(answer));
  return answer;
}

/** Why the node refuses, from its problem document (RFC 9457) if it sent one. */
async function reason(answer) {
  const problem = await answer.json().catch(() => ({}));
  return problem.detail ?? `status ${answer.status}`;
}

export const read = async (path) => (await ask(path)).json();

/** The first pages of a list, and whether there are more. */
export async function readList(name) {
  const items = [];
  let cursor = "";
  for (let page = 0; page < PAGES_MAX; page += 1) {
    const answer = await read(`/v0/${name}?limit=${PAGE_ROWS}${cursor}`);
    items.push(...answer[name]);
    if (!answer.next) return { items, more: false };
    cursor = `&cursor=${encodeURIComponent(answer.next)}`;
  }
  return { items, more: true };
}

/** Calls `on(event, data)` for each event until the stream ends or is silent for too long. */
export async function events(path, { opened, on, silence_ms, signal }) {
  const silence = new AbortController();
  let timer;
  const heard = () => {
    clearTimeout(timer);
    timer = setTimeout(() => silence.abort(), silence_ms);
  };
  heard();
  try {
    const answer = await ask(path, AbortSignal.any([silence.signal, signal]));
    opened();
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "", second = 0, events_in_second = 0;
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      heard();
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) pass(block, on);
      const now_ms = Date.now();
      if (Math.floor(now_ms / 1000) !== second) {
        second = Math.floor(now_ms / 1000);
        events_in_second = 0;
      }
      events_in_second += blocks.length;
      if (events_in_second > EVENTS_PER_SECOND_MAX) await wait(1000 - (now_ms % 1000));
    }
  } finally {
    clearTimeout(timer);
  }
}

/** The format is that of <https://html.spec.whatwg.org/multipage/server-sent-events.html>, as the node writes it. */
function pass(block, on) {
  let event = "message", data = "";
  for (const line of block.split("\n")) {
    if (line.startsWith("event: ")) event = line.slice(7);
    if (line.startsWith("data: ")) data += line.slice(6);
  }
  if (data) on(event, JSON.parse(data));
}
