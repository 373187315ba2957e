// The command line and the processes that it starts, bundled: most of the time of a short command went into
// looking up some 170 modules. docs/design/build.md says what is bundled and what it must keep to.

import { fileURLToPath } from "node:url";
import type { UserConfig } from "vite";

const source = (path: string): string => fileURLToPath(new URL(`src/${path}`, import.meta.url));

/** `analysis-census` for what was `src/analysis/census.ts`: a stack trace shows where to look. */
function chunkName(modules: readonly string[]): string {
  // Names of the bundler's own modules begin with a zero byte.
  const path = modules.findLast((id) => !id.startsWith("\0"))?.replace(/\.[jt]s$/, "") ?? "runtime";
  return path.split(/[\\/]/).slice(-2).join("-");
}

const config: UserConfig = {
  publicDir: false,
  ssr: {
    // Looking up hundreds of small modules is much of what a command or a server takes to start.
    noExternal: true,
    external: [
      // Native, or loaded by those servers alone that need it: they stay where npm puts them.
      ...["libsql", "onnxruntime-node", "@grpc/grpc-js"],
      // What fastify would load for schemas, for its own log and for calls without a network: nothing here does.
      ...["@fastify/ajv-compiler", "@fastify/fast-json-stringify-compiler"],
      ...["pino", "light-my-request"],
    ],
  },
  build: {
    ssr: true,
    outDir: fileURLToPath(new URL("dist/cli", import.meta.url)),
    emptyOutDir: true,
    target: "node20",
    license: { fileName: "licenses.md" },
    rolldownOptions: {
      input: {
        main: source("cli/main.ts"),
        "child-main": source("runtime/child-main.ts"),
        "plan-main": source("serve/plan-main.ts"),
        "planner-main": source("rollout/planner-main.ts"),
        "worker-main": source("train/worker-main.ts"),
      },
      // `main.js` waits for its command: a chunk that imported from it would wait for itself.
      preserveEntrySignatures: "strict",
      output: {
        entryFileNames: "[name].js",
        // Beside each other: `import.meta.url` has to be as far from dist/web and data/ as in src/.
        chunkFileNames: ({ facadeModuleId, moduleIds }) =>
          `${chunkName(facadeModuleId ? [facadeModuleId] : moduleIds)}.js`,
      },
    },
  },
};

export default config;
