import { EventEmitter } from "node:events";
import { describe, expect, test } from "vitest";
import { processIo, quietIo } from "./io.ts";

class Stream extends EventEmitter {
  text = "";
  readonly isTTY?: boolean;
  columns?: number;

  constructor(columns?: number) {
    super();
    if (columns === undefined) return;
    this.isTTY = true;
    this.columns = columns;
  }

  write(text: string): void {
    this.text += text;
  }
}

const { signal } = new AbortController();

describe("where a command writes to", () => {
  test("each stream is coloured and as wide as what it leads to", () => {
    const piped = processIo(signal, { stdout: new Stream(), stderr: new Stream(60), env: {} });
    expect(piped).toMatchObject({ color: true, outColor: false, columns: 60, live: true });
    expect(piped.outColumns).toBe(Number.POSITIVE_INFINITY);
    const logged = processIo(signal, { stdout: new Stream(70), stderr: new Stream(), env: {} });
    expect(logged).toMatchObject({ color: false, outColor: true, outColumns: 70, live: false });
  });

  test.each([
    [{ NO_COLOR: "1" }, { color: false, outColor: false, live: true }],
    [{ NO_COLOR: "" }, { color: true, outColor: true, live: true }],
    [{ TERM: "dumb" }, { color: false, outColor: false, live: false }],
  ])("on a terminal with %j", (env, expected) => {
    const io = processIo(signal, { stdout: new Stream(80), stderr: new Stream(80), env });
    expect(io).toMatchObject(expected);
  });

  test.each([
    [{}, true],
    [{ LANG: "de_DE.UTF-8" }, true],
    [{ LC_ALL: "C.utf8", LANG: "C" }, true],
    [{ LANG: "C" }, false],
    [{ LC_ALL: "", LC_CTYPE: "en_US.ISO-8859-1", LANG: "en_US.UTF-8" }, false],
    [{ LANG: "en_US.UTF-8", TERM: "dumb" }, false],
  ])("draws results beyond ASCII with %j: %s", (env, expected) => {
    const io = processIo(signal, { stdout: new Stream(), stderr: new Stream(), env });
    expect(io.outUnicode).toBe(expected);
  });

  test("a window that is resized, and a terminal that does not know its size", () => {
    const stderr = new Stream(80);
    const io = processIo(signal, { stdout: new Stream(0), stderr, env: {} });
    stderr.columns = 40;
    expect(io).toMatchObject({ columns: 40, rows: 24, outColumns: Number.POSITIVE_INFINITY });
    stderr.columns = 0;
    expect(io.columns).toBe(100);
  });

  test("a terminal that has gone is no error: a signal tells of it", () => {
    const stdout = new Stream(80);
    processIo(signal, { stdout, stderr: new Stream(80), env: {} });
    const fails = (code: string) => () =>
      stdout.emit("error", Object.assign(new Error(code), { code }));
    expect(fails("EIO")).not.toThrow();
    expect(fails("ENOSPC")).toThrow("ENOSPC");
  });

  test("quiet leaves the results", () => {
    const [stdout, stderr] = [new Stream(80), new Stream(80)];
    const io = quietIo(processIo(signal, { stdout, stderr, env: {} }));
    io.err("progress");
    io.out("result");
    expect([io.live, stdout.text, stderr.text]).toEqual([false, "result", ""]);
  });
});
