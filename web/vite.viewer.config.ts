import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

// The viewer of pictures as one script and one style sheet, which go into files by themselves.
export default defineConfig({
  root: fileURLToPath(new URL(".", import.meta.url)),
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    outDir: fileURLToPath(new URL("../dist/web/viewer", import.meta.url)),
    emptyOutDir: true,
    target: "es2022",
    lib: {
      entry: fileURLToPath(new URL("src/standalone.tsx", import.meta.url)),
      formats: ["iife"],
      name: "skipwayViewer",
      fileName: () => "viewer.js",
      cssFileName: "viewer",
    },
  },
});
