import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { diagnostic } from "../../base/diagnostic.ts";
import { SkipwayError } from "../../base/errors.ts";
import { printable } from "../../base/printable.ts";
import { tableLines } from "../../base/table.ts";
import type { Io } from "../io.ts";
import { errorLines, exitCodeOf, findingLines } from "./findings.ts";
import { bar, LiveArea } from "./live.ts";
import { plotLines } from "./plot.ts";
import { styled } from "./style.ts";

describe("tables", () => {
  const columns = [
    { title: "name", flexible: true },
    { title: "size", align: "right" as const },
  ];
  const rows = [
    ["a-rather-long-name", "7"],
    ["b", "1234"],
  ];

  test("are as wide as what is in them", () => {
    expect(tableLines(columns, rows, 80)).toEqual([
      "name                size",
      "──────────────────  ────",
      "a-rather-long-name     7",
      "b                   1234",
    ]);
  });

  test("fold the flexible columns where the line is short, after a separator if one is near", () => {
    expect(tableLines(columns, rows, 16)).toEqual([
      "name        size",
      "──────────  ────",
      "a-rather-      7",
      "long-name",
      "b           1234",
    ]);
  });

  test("hide nothing, and are no wider than the terminal where names can be folded", () => {
    const unit = fc.constantFrom("a", "b", "/", "_", "-", "\u001b");
    const names = fc.array(fc.string({ unit, maxLength: 60 }), { maxLength: 5 });
    fc.assert(
      fc.property(names, fc.integer({ min: 12, max: 90 }), (list, width) => {
        const rows = list.map((one) => [one, "1"]);
        const lines = tableLines(columns, rows, width).slice(2);
        for (const line of lines) expect(line.length).toBeLessThanOrEqual(width);
        expect(lines.join("").replaceAll(/[ 1]/g, "")).toBe(
          list.map(printable).join("").replaceAll("1", ""),
        );
      }),
    );
  });

  test("show the codes in a name instead of sending them to the terminal", () => {
    const lines = tableLines(columns, [["a\u001b[2Jb\nc\u202ed", "1"]], 80);
    expect(lines[2]).toBe("a\\u{1b}[2Jb\\u{a}c\\u{202e}d     1");
  });
});

describe("plots", () => {
  test("two curves, a falling and a flat one", () => {
    const falling = Array.from({ length: 20 }, (_, i) => 2 * 0.8 ** i);
    const flat = falling.map(() => 1.5);
    const lines = plotLines(
      [
        { name: "falling", values: falling },
        { name: "flat", values: flat },
      ],
      { width: 40, height: 6, points: 20, low: 0.01, high: 3 },
    );
    expect(lines).toHaveLength(6);
    expect(lines).toMatchInlineSnapshot(`
      [
        "      3 │⣤⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀",
        "      1 │    ⠉⠉⠒⠢⠤⣀⡀",
        "    0.3 │          ⠈⠉⠒⠒⠤⢄⣀",
        "    0.1 │                 ⠉⠉⠉⠑⠒⠤⢄⣀",
        "   0.03 │                         ⠉⠑⠒⠢⠤⣀",
        "   0.01 │",
      ]
    `);
  });

  test("values that are no numbers, or not yet there, leave gaps and break nothing", () => {
    const values = [Number.NaN, 1, Number.POSITIVE_INFINITY, -1, 0];
    const options = { width: 20, height: 3, points: 5, low: 0.1, high: 10 };
    expect(plotLines([{ name: "odd", values }], options)).toHaveLength(3);
    expect(plotLines([], options)).toHaveLength(3);
  });
});

function memoryIo(live: boolean): { io: Io; text: () => string } {
  let text = "";
  const io: Io = {
    out: () => undefined,
    err: (more) => {
      text += more;
    },
    live,
    color: false,
    columns: 80,
    outColor: false,
    rows: 24,
    outColumns: 80,
    outUnicode: true,
    signal: new AbortController().signal,
  };
  return { io, text: () => text };
}

describe("the live area", () => {
  test("redraws in place, at most ten times a second, and leaves the last lines standing", () => {
    let now = 0;
    const { io, text } = memoryIo(true);
    const area = new LiveArea(io, { nowMs: () => now, monotonicMs: () => now });
    area.set(["one"]);
    now += 50;
    area.set(["too soon"]);
    now += 60;
    area.set(["two", "lines"]);
    now += 10;
    area.set(["the end"]);
    area.done();
    const up = "\u001b[1A\u001b[2K";
    expect(text()).toBe(`one\n${up}two\nlines\n${up}${up}the end\n`);
  });

  test("never draws a line that wraps or leaves the screen", () => {
    const { io, text } = memoryIo(true);
    const area = new LiveArea({ ...io, columns: 5, rows: 3 });
    area.set(["gone", `${styled("blue", "123", true)}45678`, styled("blue", "12345678", true)]);
    const blue = (inner: string): string => styled("blue", inner, true);
    expect(text()).toBe(`${blue("123")}45\n${blue("12345")}\n`);
  });

  test("draws nothing in a pipe", () => {
    const { io, text } = memoryIo(false);
    const area = new LiveArea(io);
    area.set(["one"]);
    area.done();
    expect(text()).toBe("");
  });

  test("bars", () => {
    expect(bar(0.5, 4)).toBe("[██──]");
    expect(bar(7, 4)).toBe("[████]");
    expect(bar(-1, 4)).toBe("[────]");
  });
});

describe("findings", () => {
  const found = diagnostic({
    id: "area/what",
    severity: "error",
    where: "file.onnx",
    text: "is wrong because of this",
    notes: ["a fact"],
    fix: "Do that.",
  });

  test("say what, where, why and what to do", () => {
    expect(findingLines(found, false)).toEqual([
      "error area/what  file.onnx",
      "  is wrong because of this",
      "  note: a fact",
      "  fix: Do that.",
    ]);
  });

  test("show control codes, and indent the further lines of a message", () => {
    const odd = diagnostic({
      id: "area/what",
      severity: "warning",
      where: "node \u001b]0;x\u0007",
      text: "first\nerror fake/line\u001b[31m\n",
    });
    expect(findingLines(odd, false)).toEqual([
      "warning area/what  node \\u{1b}]0;x\\u{7}",
      "  first",
      "    error fake/line\\u{1b}[31m",
    ]);
    expect(errorLines(new SkipwayError("input", "\u001b[2J"), false)).toEqual(["error \\u{1b}[2J"]);
  });

  test("every error of an input or a machine has no stack trace; a defect says that it is one", () => {
    expect(errorLines(SkipwayError.fromDiagnostics("input", [found, found]), false)).toHaveLength(
      8,
    );
    expect(errorLines(new SkipwayError("interrupted", "stopped"), false)).toEqual([
      "error stopped",
    ]);
    const lack = Object.assign(new Error("spawn node EMFILE"), { code: "EMFILE" });
    expect(errorLines(lack, false)).toEqual([
      "error spawn node EMFILE",
      "  fix: Allow this process more open files (ulimit -n).",
    ]);
    const lines = errorLines(new TypeError("oops"), false);
    expect(lines[0]).toBe("error oops");
    expect(lines[1]).toContain("defect of skipway");
  });

  test("exit codes", () => {
    const codes = (["check", "usage", "input", "environment", "interrupted"] as const).map((code) =>
      exitCodeOf(new SkipwayError(code, "")),
    );
    expect(codes).toEqual([1, 2, 3, 4, 130]);
    expect(exitCodeOf(new Error("x"))).toBe(4);
  });
});

test("colour only where it is wanted", () => {
  expect(styled("red", "x", false)).toBe("x");
  expect(styled("red", "x", true)).toBe("\u001b[31mx\u001b[39m");
});
