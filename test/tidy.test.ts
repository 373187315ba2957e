import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, sep } from "node:path";
import { describe, expect, test } from "vitest";

// The style of the repository as a test: who may import whom, how long files are, what no file says.

/** Folders in the order data passes them; a file imports from its own folder or from those before it. */
const LAYERS = [
  ...["base", "graph", "observe", "onnx", "wire", "ops", "canonical", "analysis", "passes", "nn"],
  ...["runtime", "train", "compress", "registry", "serve", "rollout", "drill", "deploy"],
  ...["dashboard", "cli"],
];

/** Packages that only some folders may name. */
const RESERVED: readonly (readonly [RegExp, RegExp])[] = [
  [/^onnxruntime/, /^src\/runtime\/ort\.ts$/],
  [
    /^@bufbuild\/protobuf|onnx_pb/,
    // Traces and native histograms are protobuf too: the library's writer, not a second one.
    /^src\/(onnx|wire)\/|^src\/(observe\/(exposition|otlp)|train\/tensorboard)/,
  ],
  [/^(fastify|@fastify\/)/, /^src\/(serve|rollout|dashboard)\//],
  [/^@grpc\//, /^src\/serve\/grpc\//],
  [/^(libsql|kysely)$/, /^src\/registry\//],
  [/^commander$/, /^src\/cli\//],
  [/^(preact|uplot|@preact\/)/, /^web\//],
];

const FILE_LINES_MAX = 500;

function filesBelow(folder: string, ending: RegExp): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && ending.test(entry.name))
    .map((entry) => relative(".", join(entry.parentPath, entry.name)).split(sep).join("/"))
    .filter((path) => !/\/proto\/|\.gen\.ts$/.test(path) && !/node_modules|\/\.build\//.test(path))
    .sort();
}

const SOURCES = filesBelow("src", /\.ts$/);
const WEB = filesBelow("web", /\.(ts|tsx)$/);
const TESTS = [...filesBelow("test", /\.(ts|mjs)$/), ...SOURCES.filter(isTest)];
/** What runs beside the product: not bound to the layers, but short and with a head. */
const TOOLS = ["bench", "scripts", "examples"].flatMap((folder) => filesBelow(folder, /\.ts$/));
const PRODUCT = [...SOURCES, ...WEB].filter((path) => !isTest(path));
const TEXTS = [
  ...readdirSync(".").filter(
    (name) => /\.(md|json|ts)$/.test(name) && name !== "package-lock.json",
  ),
  ...filesBelow("docs", /\.md$/),
  ...filesBelow("bench", /\.(ts|json)$/),
  ...filesBelow("scripts", /\.(ts|json)$/),
  ...filesBelow("data", /\.md$/),
  ...filesBelow("examples", /\.(md|ts|json)$/),
  ...[...PRODUCT, ...TESTS],
];

function isTest(path: string): boolean {
  return /\.test(-helper)?\.ts$/.test(path);
}

/** Comments may show what code may not do. */
function isComment(line: string): boolean {
  return /^\s*(\/\/|\*|\/\*)/.test(line);
}

function textOf(path: string): string {
  return readFileSync(path, "utf8");
}

/** What a file imports, types included. */
function importsOf(path: string): string[] {
  const found = textOf(path).matchAll(
    /(?:^|\n)\s*(?:import|export)\b[^"';]*?from\s*"([^"]+)"|import\(\s*"([^"]+)"\s*\)|(?:^|\n)import "([^"]+)"/g,
  );
  return [...found].map((match) => match[1] ?? match[2] ?? match[3] ?? "");
}

function layerOf(path: string): string | undefined {
  const [, layer, rest] = path.split("/");
  return rest === undefined ? undefined : layer;
}

describe("layers", () => {
  test.each(PRODUCT.filter((path) => path.startsWith("src/")))(
    "%s imports from layers before it",
    (path) => {
      const own = layerOf(path);
      if (own === undefined) return;
      expect(LAYERS).toContain(own);
      for (const target of importsOf(path)) {
        if (!target.startsWith(".")) continue;
        const layer = layerOf(join(dirname(path), target).split(sep).join("/"));
        if (layer === undefined)
          throw new Error(`${path} imports ${target}, which lies outside every layer`);
        expect(LAYERS.indexOf(layer), `${path} -> ${target}`).toBeLessThanOrEqual(
          LAYERS.indexOf(own),
        );
        if (own === "observe") expect(["base", "observe"], `${path} -> ${target}`).toContain(layer);
      }
    },
  );

  test("graph/ knows nothing of Node", () => {
    for (const path of PRODUCT.filter((one) => layerOf(one) === "graph")) {
      expect(
        importsOf(path).filter((target) => target.startsWith("node:")),
        path,
      ).toEqual([]);
    }
  });

  test("packages are named only where they belong", () => {
    for (const path of PRODUCT) {
      for (const target of importsOf(path)) {
        for (const [name, place] of RESERVED) {
          if (name.test(target.split("/").at(-1) ?? "") || name.test(target)) {
            expect(place.test(path), `${path} names ${target}`).toBe(true);
          }
        }
      }
    }
  });

  test("the browser takes types from the server's code, and how a picture is laid out", () => {
    for (const path of WEB.filter((one) => !isTest(one))) {
      const imports = textOf(path).matchAll(/^import (?!type )[^;]*from "([^"]*\/src\/[^"]*)";/gm);
      for (const [, target = ""] of imports) {
        expect(target, path).toMatch(/src\/analysis\/picture\/(layout|looks|shapes|words)\.ts$/);
      }
    }
  });
});

describe("files", () => {
  test.each([...PRODUCT, ...TOOLS])("%s is short and says at its head what it is for", (path) => {
    const lines = textOf(path).split("\n");
    expect(lines.length).toBeLessThanOrEqual(FILE_LINES_MAX);
    if (path.endsWith("config.ts")) return;
    const head = lines[0]?.startsWith("#!") ? lines[1] : lines[0];
    expect(head).toMatch(/^\/\/ \S/);
  });

  test("a test stands beside what it tests, or in test/", () => {
    for (const path of SOURCES.filter(isTest)) expect(existsSync(dirname(path))).toBe(true);
  });
});

describe("what no file says", () => {
  const banned: readonly (readonly [string, RegExp, readonly string[]])[] = [
    [
      "the time outside base/clock",
      /\bDate\.now\(|\bnew Date\(|\bperformance\.now\(/,
      PRODUCT.filter((p) => p !== "src/base/clock.ts" && !p.startsWith("web/")),
    ],
    ["chance outside base/random", /\bMath\.random\(/, PRODUCT],
    ["an error without a code", /throw new Error\(/, PRODUCT],
    ["the console", /\bconsole\.\w+\(/, PRODUCT],
    [
      "printing outside cli/",
      /\bprocess\.std(out|err)\.write|\{[^}]*\bstd(out|err)\b[^}]*\} = process\b/,
      PRODUCT.filter((p) => !p.startsWith("src/cli/") && p !== "src/runtime/child-main.ts"),
    ],
    [
      "a mark of unfinished work",
      new RegExp(
        `\\b(${["TO", "FIX"].map((w) => `${w}${w === "TO" ? "DO" : "ME"}`).join("|")}|${"X".repeat(3)})\\b`,
      ),
      TEXTS,
    ],
    ["any", /: any\b|\bas any\b|@ts-(ignore|nocheck)/, PRODUCT],
    ["a path of one machine", /(^|[^\w.])\/(home|Users|work|farm)\/[A-Za-z.]/m, TEXTS],
  ];
  test.each(banned)("%s", (_what, pattern, files) => {
    expect(files.length).toBeGreaterThan(0);
    for (const path of files) {
      const found = textOf(path)
        .split("\n")
        .filter((line) => pattern.test(line) && !isComment(line) && path !== "test/tidy.test.ts");
      expect(found, path).toEqual([]);
    }
  });

  test("what a compiler made stands among no sources", () => {
    expect(filesBelow("src", /\.(js|d\.ts|map)$/)).toEqual([]);
  });

  test("no test is skipped or runs alone", () => {
    for (const path of TESTS) {
      const found = textOf(path).match(
        /\b(it|test|describe)\.(only|skip|todo|skipIf|runIf|fails)\b/g,
      );
      if (path !== "test/tidy.test.ts") expect(found, path).toBeNull();
    }
  });

  test("the lock file names no registry", () => {
    expect(textOf("package-lock.json")).not.toMatch(/"resolved": "https?:/);
  });
});

describe("documents", () => {
  const documents = TEXTS.filter((path) => path.endsWith(".md"));

  test.each(documents)("the links of %s lead somewhere", (path) => {
    const links = [...textOf(path).matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g)].map(
      (found) => found[1] ?? "",
    );
    for (const link of links.filter((one) => !/^[a-z]+:/.test(one))) {
      expect(existsSync(join(dirname(path), link)), `${path} -> ${link}`).toBe(true);
    }
  });

  test("the change log has its form", () => {
    const lines = textOf("CHANGELOG.md").split("\n");
    expect(lines).toContain("## Unreleased");
    for (const line of lines.filter((one) => one.startsWith("- "))) {
      expect(line).toMatch(/^- \[(CHANGE|FEATURE|ENHANCEMENT|PERF|BUGFIX|SECURITY)\] \S+: /);
    }
  });

  test("ARCHITECTURE.md has a paragraph for every folder that there is, and for no other", () => {
    const folders = readdirSync("src", { withFileTypes: true })
      .filter((e) => e.isDirectory())
      .map((e) => e.name);
    const named = [...textOf("ARCHITECTURE.md").matchAll(/^\*\*`(\w+)\/`\*\*/gm)].map(
      (found) => found[1],
    );
    expect(named.filter((name) => name !== "web")).toEqual(
      LAYERS.filter((layer) => folders.includes(layer)),
    );
  });
});
