import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["src/**/*.test.ts", "web/**/*.test.ts", "test/**/*.test.ts"],
    globalSetup: ["test/announce.ts"],
    exclude: ["**/node_modules/**", "test/browser/**"],
    // What is kept for a machine stays out of the user's own folder.
    env: { XDG_CACHE_HOME: fileURLToPath(new URL("node_modules/.cache", import.meta.url)) },
    // Most of the time of these goes into waiting for processes: a worker for each of two cores, or for all but one.
    maxWorkers: Math.max(2, availableParallelism() - 1),
    // Whole processes are started in the tests that cross layers; two cores want patience.
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
});
