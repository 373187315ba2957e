import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["src/**/*.test.ts", "web/**/*.test.ts", "test/**/*.test.ts"],
    globalSetup: ["test/announce.ts"],
    exclude: ["**/node_modules/**", "test/browser/**"],
    // Whole processes are started in the tests that cross layers; two cores want patience.
    // What is kept for a machine stays out of the user's own folder.
    env: { XDG_CACHE_HOME: fileURLToPath(new URL("node_modules/.cache", import.meta.url)) },
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
});
