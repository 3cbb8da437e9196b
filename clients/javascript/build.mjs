// Puts the client that the worker serves into the package, and a minified copy with a source map.
import { copyFileSync, readFileSync } from "node:fs";
import { build } from "esbuild";

const served = new URL("../../gateway/http/static/", import.meta.url);
for (const name of ["client.js", "client.d.ts"]) copyFileSync(new URL(name, served), name);

const { version } = JSON.parse(readFileSync("package.json", "utf8"));
const { VERSION } = await import(new URL("client.js", served).href);
if (version !== VERSION) throw new Error(`package.json has version ${version}, client.js ${VERSION}`);

await build({
  entryPoints: ["client.js"],
  outfile: "client.min.js",
  format: "esm",
  target: "es2022",
  minify: true,
  sourcemap: true,
});
