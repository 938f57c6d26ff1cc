// An HTTP handler in JavaScript, by the web platform's own interface: the method, the path and the
// request's body in capitals.

addEventListener("fetch", (event) => event.respondWith(answer(event.request)));

async function answer(request) {
  const { pathname, search } = new URL(request.url);
  const body = (await request.text()).toUpperCase();
  return new Response(`javascript answers ${request.method} ${pathname}${search}\n${body}`, {
    headers: { "content-type": "text/plain" },
  });
}
