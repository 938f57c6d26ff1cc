// Builds http.js into a component: node build.mjs SOURCE.js WIT_DIR WORK_DIR OUT.wasm
//
// The engine inside componentize-js answers the `fetch` event for one version of wasi:http alone, so
// the interfaces are copied to WORK_DIR with that version. A host takes any 0.2 for any other.

import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { componentize } from "@bytecodealliance/componentize-js";

const ENGINE_WASI = "0.2.10";
const WORLD = `package vyr:guests;

world foreign-http {
  import wasi:http/types@${ENGINE_WASI};
  export wasi:http/incoming-handler@${ENGINE_WASI};
}
`;

const [source, witPath, workPath, out] = process.argv.slice(2);
await mkdir(join(workPath, "deps"), { recursive: true });
for (const name of ["io", "clocks", "cli", "http"]) {
  const text = await readFile(join(witPath, "deps", `${name}.wit`), "utf8");
  const versioned = text.replaceAll("@0.2.0", `@${ENGINE_WASI}`);
  await writeFile(join(workPath, "deps", `${name}.wit`), versioned);
}
await writeFile(join(workPath, "world.wit"), WORLD);

const { component } = await componentize(await readFile(source, "utf8"), {
  witPath: workPath,
  worldName: "foreign-http",
});
await writeFile(out, component);
