// What every engine promises, as one suite of tests that each of them runs.

import { describe, expect, test } from "vitest";
import { SkipwayError } from "../../src/base/errors.ts";
import type { DType } from "../../src/graph/dtype.ts";
import { dtypeBytes } from "../../src/graph/dtype.ts";
import { stringTensor } from "../../src/graph/string-tensor.ts";
import {
  bytesOf,
  float32,
  float32Values,
  int64,
  type Tensor,
  tensor,
} from "../../src/graph/tensor.ts";
import type { Runner, SessionOptions, Tensors } from "../../src/runtime/runner.ts";
import {
  affineModel,
  bfloat16Model,
  brittleModel,
  defaultInputModel,
  identityModel,
  lookupModel,
  pairModel,
  unknownOpModel,
} from "../models.ts";

const DTYPES: readonly DType[] = [
  ...(["float32", "float64", "float16", "bfloat16", "bool"] as const),
  ...(["int8", "int16", "int32", "int64"] as const),
  ...(["uint8", "uint16", "uint32", "uint64"] as const),
];

function x(...values: number[]): Tensors {
  return new Map([["x", float32([values.length / 3, 3], values)]]);
}

/** The upper half of a float32's bits, rounded to the nearest, ties to even. */
function nearestBfloat16(bits: number): number {
  const half = bits >>> 16;
  const rest = bits & 0xffff;
  return rest > 0x8000 || (rest === 0x8000 && half % 2 === 1) ? half + 1 : half;
}

/** Ids of the findings that a promise is rejected with. */
export async function idsOf(work: Promise<unknown>): Promise<string[]> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(SkipwayError);
  return error instanceof SkipwayError ? error.diagnostics.map((one) => one.id) : [];
}

/** Runs the suite against an engine. */
export function runnerContract(name: string, open: () => Runner): void {
  describe(`runner contract: ${name}`, () => {
    test("computes, with a symbolic batch", async () => {
      await using session = await open().load({ bytes: affineModel() });
      expect([...session.inputs]).toEqual([["x", { dtype: "float32", shape: ["N", 3] }]]);
      expect([...session.outputs.keys()]).toEqual(["y", "z"]);
      for (const rows of [1, 4]) {
        const values = Array.from({ length: 3 * rows }, (_, i) => i - 1);
        const found = await session.run(x(...values));
        expect(found.get("y")?.shape).toEqual([rows, 3]);
        expect([...float32Values(found.get("y") as Tensor)]).toEqual(values.map((v) => 2 * v + 1));
      }
    });

    test("computes the outputs that are asked for, under their own names", async () => {
      await using session = await open().load({ bytes: affineModel() });
      const found = await session.run(x(1, 2, 3), { outputs: ["z"] });
      expect([...found.keys()]).toEqual(["z"]);
      expect([...float32Values(found.get("z") as Tensor)]).toEqual([-1, -2, -3]);
    });

    test.each(DTYPES)("carries %s bit by bit", async (dtype) => {
      await using session = await open().load({ bytes: identityModel(dtype, ["N"]) });
      const bytes = Uint8Array.from({ length: dtypeBytes(dtype, 5) }, (_, i) =>
        dtype === "bool" ? i % 2 : (i * 37 + 1) % 120,
      );
      const found = await session.run(new Map([["x", tensor(dtype, [5], bytes)]]));
      expect(found.get("y")?.dtype).toBe(dtype);
      expect(Buffer.from(found.get("y")?.data.bytes ?? [])).toEqual(Buffer.from(bytes));
    });

    test("carries strings, whatever is in them but NUL", async () => {
      await using session = await open().load({ bytes: identityModel("string", ["N"]) });
      const sent = stringTensor([5], ["", "a", "\u{1f600} é", "\ufeffmark", "x".repeat(70_000)]);
      const found = await session.run(new Map([["x", sent]]));
      expect(found.get("y")?.shape).toEqual([5]);
      expect(found.get("y")?.dtype).toBe("string");
      expect(Buffer.compare(found.get("y")?.data.bytes ?? Buffer.of(), sent.data.bytes)).toBe(0);
      const one = (bytes: readonly number[], shape: readonly number[] = [1]): Tensors =>
        new Map([
          ["x", { dtype: "string", shape, data: { kind: "bytes", bytes: Uint8Array.from(bytes) } }],
        ]);
      // Not UTF-8, a NUL (the binding would end the text there), and lengths that do not add up.
      expect(await idsOf(session.run(one([1, 0, 0, 0, 0xff])))).toEqual(["input/text"]);
      expect(await idsOf(session.run(one([1, 0, 0, 0, 0])))).toEqual(["input/text"]);
      expect(await idsOf(session.run(one([2, 0, 0, 0, 65])))).toEqual(["input/data"]);
      expect(await idsOf(session.run(one([1, 0, 0, 0, 65], [2])))).toEqual(["input/data"]);
      expect((await session.run(one([1, 0, 0, 0, 65]))).size).toBe(1);
    });

    test("bfloat16 goes in and out as its bits, and is rounded to the nearest by the runtime", async () => {
      await using session = await open().load({ bytes: bfloat16Model() });
      expect(session.inputs.get("x")).toEqual({ dtype: "bfloat16", shape: ["N"] });
      expect(session.outputs.get("rounded")?.dtype).toBe("bfloat16");
      const bits = Uint16Array.of(0x3f80, 0xbf80, 0x7f80, 0x0001, 0x4049);
      const full = Float32Array.of(1 / 3, 1 + 2 ** -8, 1 + 3 * 2 ** -8, -1e-40, 3.4e38);
      const found = await session.run(
        new Map([
          ["x", tensor("bfloat16", [5], bytesOf(bits))],
          ["f", float32([5], full)],
        ]),
      );
      const words = (name: string) => Buffer.from(found.get(name)?.data.bytes ?? []);
      expect(words("same")).toEqual(Buffer.from(bytesOf(bits)));
      expect(words("captured")).toEqual(Buffer.from(bytesOf(bits)));
      const nearest = Uint16Array.from(new Uint32Array(full.buffer), nearestBfloat16);
      expect(words("rounded")).toEqual(Buffer.from(bytesOf(nearest)));
    });

    test("refuses a model whose ends are of a type that JavaScript cannot hold", async () => {
      const bytes = identityModel("float8e4m3fn", ["N"]);
      expect(await idsOf(open().load({ bytes }))).toEqual(["runtime/dtype"]);
    });

    test.each<SessionOptions>([
      { arena: false, memoryPattern: false },
      { threads: 2, spinning: false },
      { prepacking: false },
    ])("computes the same with the settings %j", async (settings) => {
      await using session = await open().load({ bytes: affineModel() }, settings);
      expect([...float32Values((await session.run(x(1, 2, 3))).get("y") as Tensor)]).toEqual([
        3, 5, 7,
      ]);
    });

    test("takes bytes that are not aligned", async () => {
      await using session = await open().load({ bytes: identityModel("float32", [2]) });
      const store = new Uint8Array(9);
      store.set(new Uint8Array(Float32Array.of(1.5, -2).buffer), 1);
      const found = await session.run(new Map([["x", tensor("float32", [2], store.subarray(1))]]));
      expect([...float32Values(found.get("y") as Tensor)]).toEqual([1.5, -2]);
    });

    test("tells every fault of a request, and goes on", async () => {
      await using session = await open().load({ bytes: affineModel() });
      const wrong = new Map([
        ["y", float32([1], [0])],
        ["x", int64([1, 4], [1, 2, 3, 4])],
      ]);
      expect(await idsOf(session.run(wrong))).toEqual([
        "input/unknown-name",
        "input/dtype",
        "input/shape",
      ]);
      expect(await idsOf(session.run(new Map()))).toEqual(["input/missing"]);
      const deep = new Map([["x", float32([1, 3, 1], [1, 2, 3])]]);
      expect(await idsOf(session.run(deep))).toEqual(["input/shape"]);
      expect(await idsOf(session.run(x(1, 2, 3), { outputs: ["no"] }))).toEqual([
        "output/unknown-name",
      ]);
      expect((await session.run(x(1, 2, 3))).size).toBe(2);
    });

    test("the same symbol is the same size", async () => {
      await using session = await open().load({ bytes: pairModel() });
      const feeds = new Map([
        ["a", float32([2], [1, 2])],
        ["b", float32([3], [1, 2, 3])],
      ]);
      expect(await idsOf(session.run(feeds))).toEqual(["input/shape"]);
    });

    test.each([
      ["text", Buffer.from("no model at all")],
      ["an unknown op", unknownOpModel()],
      ["nothing", new Uint8Array()],
    ])("refuses %s as a model", async (_what, bytes) => {
      expect(await idsOf(open().load({ bytes }))).toEqual(["runtime/refused"]);
    });

    test("refuses a path where nothing is", async () => {
      expect(await idsOf(open().load({ path: "/no/such/model.onnx" }))).toEqual([
        "runtime/refused",
      ]);
    });

    test("a run that fails inside fails alone", async () => {
      await using session = await open().load({ bytes: brittleModel() });
      const odd = new Map([["x", float32([5], [1, 2, 3, 4, 5])]]);
      expect(await idsOf(session.run(odd))).toEqual(["runtime/failed"]);
      const even = new Map([["x", float32([8], [1, 2, 3, 4, 5, 6, 7, 8])]]);
      expect((await session.run(even)).get("y")?.shape).toEqual([2, 4]);
    });

    test.each(["Gather", "GatherElements", "GatherND", "ScatterElements", "ScatterND"])(
      "an index out of bounds is the input's fault: %s",
      async (op) => {
        await using session = await open().load({ bytes: lookupModel(op) });
        const feeds = (index: number) => {
          const v = float32([1, op === "ScatterND" ? 2 : 1], op === "ScatterND" ? [9, 9] : [9]);
          const i = int64([1, 1], [index]);
          return new Map([["i", i], ...(session.inputs.has("v") ? [["v", v] as const] : [])]);
        };
        expect((await session.run(feeds(3))).has("y")).toBe(true);
        for (const index of [4, -5, 2 ** 40]) {
          const error = await session.run(feeds(index)).catch((found: unknown) => found);
          expect(error).toMatchObject({
            code: "input",
            diagnostics: [{ id: "runtime/bad-index" }],
          });
        }
      },
    );

    test("an input with a default is none of the inputs, and giving it is a fault: the runtime would not read it", async () => {
      await using session = await open().load({ bytes: defaultInputModel() });
      expect([...session.inputs.keys()]).toEqual(["x"]);
      const one = new Map([["x", float32([2], [1, 2])]]);
      const y = (await session.run(one)).get("y");
      expect(y && [...float32Values(y)]).toEqual([11, 22]);
      const both = new Map([...one, ["w", float32([2], [5, 5])]]);
      await expect(session.run(both)).rejects.toMatchObject({ code: "input" });
    });

    test("runs that are asked for together give each its own answer", async () => {
      await using session = await open().load({ bytes: affineModel() });
      const found = await Promise.all(
        Array.from({ length: 20 }, (_, i) => session.run(x(i, i, i), { outputs: ["y"] })),
      );
      expect(found.map((one) => float32Values(one.get("y") as Tensor)[0])).toEqual(
        Array.from({ length: 20 }, (_, i) => 2 * i + 1),
      );
    });

    test("a run that is given up rejects with the reason; others go on", async () => {
      await using session = await open().load({ bytes: affineModel() });
      const controller = new AbortController();
      const runs = Array.from({ length: 5 }, (_, i) =>
        session.run(x(1, 2, 3), i === 4 ? { signal: controller.signal } : {}),
      );
      controller.abort(new Error("no longer wanted"));
      await expect(runs[4]).rejects.toThrow("no longer wanted");
      expect((await Promise.all(runs.slice(0, 4))).length).toBe(4);
    });

    test.each(["__proto__", "constructor", "0"])("an input may be called %s", async (name) => {
      await using session = await open().load({ bytes: identityModel("float32", [1], name) });
      const feeds = new Map([[name, float32([1], [7])]]);
      expect((await session.run(feeds)).get("y")).toEqual(float32([1], [7]));
    });

    test("a closed session refuses to run, and may be closed again", async () => {
      const session = await open().load({ bytes: affineModel() });
      await session.close();
      await session.close();
      expect(await idsOf(session.run(x(1, 2, 3)))).toEqual(["runtime/closed"]);
    });

    test("what was asked before the close is answered", async () => {
      const session = await open().load({ bytes: affineModel() });
      const runs = [x(1, 2, 3), x(4, 5, 6)].map((feeds) => session.run(feeds));
      await session.close();
      expect((await Promise.all(runs)).map((found) => found.size)).toEqual([2, 2]);
    });

    test("says how much memory it holds", async () => {
      await using session = await open().load({ bytes: affineModel() });
      const { residentBytes, peakResidentBytes } = await session.memory();
      expect(residentBytes).toBeGreaterThan(10_000_000);
      expect(peakResidentBytes).toBeGreaterThanOrEqual(residentBytes * 0.9);
    });
  });
}
