import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["src/**/*.test.ts", "web/**/*.test.ts", "test/**/*.test.ts"],
    globalSetup: ["test/announce.ts"],
    exclude: ["**/node_modules/**", "test/browser/**"],
    // Whole processes are started in the tests that cross layers; two cores want patience.
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
});
