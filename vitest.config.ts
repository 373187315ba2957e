import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const ALL = ["src/**/*.test.ts", "web/**/*.test.ts", "test/**/*.test.ts"];
const NOT = ["**/node_modules/**", "test/browser/**"];
/** Files that look at what their own process holds: what other files have left there would be counted as theirs. */
const ALONE = ["src/runtime/garbage.test.ts"];

export default defineConfig({
  test: {
    // What is kept for a machine stays out of the user's own folder.
    env: { XDG_CACHE_HOME: fileURLToPath(new URL("node_modules/.cache", import.meta.url)) },
    // Many tests wait for processes that they have started: one worker more than two cores leaves none of them idle.
    maxWorkers: Math.max(3, availableParallelism()),
    // Whole processes are started in the tests that cross layers; two cores want patience.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    projects: [
      { extends: true, test: { name: "alone", include: ALONE } },
      {
        extends: true,
        test: {
          name: "together",
          include: ALL,
          exclude: [...NOT, ...ALONE],
          globalSetup: ["test/announce.ts"],
          // A process for each file, and all modules read anew in it, took a quarter of the time. Modules keep no state
          // that a test could leave for the next one, and a test that replaces something puts it back.
          isolate: false,
        },
      },
    ],
  },
});
