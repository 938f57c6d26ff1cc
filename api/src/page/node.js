// Asking the node: documents, and server-sent events read from a stream so that they can carry a token.
const KEY = "vyr.token";
export class Unauthorised extends Error {}

export function setToken(token) { sessionStorage.setItem(KEY, token); }

async function ask(path, signal) {
  const token = sessionStorage.getItem(KEY);
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  const answer = await fetch(path, { headers, signal });
  if (answer.status === 401) throw new Unauthorised("the node wants its token");
  if (!answer.ok) throw new Error(`${path}: status ${answer.status}`);
  return answer;
}

export async function document_of(path) { return (await ask(path)).json(); }

/** Calls `on(event, data)` for each event until the stream ends. */
export async function events(path, on, opened, signal) {
  const answer = await ask(path, signal);
  opened();
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      let event = "message", data = "";
      for (const line of block.split("\n")) {
        if (line.startsWith("event: ")) event = line.slice(7);
        if (line.startsWith("data: ")) data += line.slice(6);
      }
      if (data) on(event, JSON.parse(data));
    }
  }
}
