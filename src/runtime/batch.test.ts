import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { idsOf } from "../../test/contracts/runner.ts";
import { affineModel, brittleModel, identityModel, pairModel } from "../../test/models.ts";
import type { ValueType } from "../graph/graph.ts";
import { stringTensor } from "../graph/string-tensor.ts";
import { bytesOf, float32, type Tensor, tensor } from "../graph/tensor.ts";
import { joinMembers, splitByRows } from "./batch.ts";
import { type ChildSession, childProcessRunner } from "./child-process.ts";
import type { Tensors } from "./runner.ts";

const only = (value: Tensor): Tensors => new Map([["x", value]]);

function plain(found: Tensors): unknown {
  return [...found].map(([name, { dtype, shape, data }]) => ({
    ...{ name, dtype, shape },
    bytes: Buffer.from(data.bytes).toString("hex"),
  }));
}

/** Rows of random elements: of two dimensions, or strings. */
function rows(dtype: "float32" | "int8" | "string", counts: readonly number[], seed: number) {
  return counts.map((count, member) => {
    const values = Array.from({ length: 3 * count }, (_, i) => (seed + 7 * member + i * 31) % 120);
    if (dtype === "float32") return float32([count, 3], values);
    if (dtype === "int8") return tensor(dtype, [count, 3], bytesOf(Int8Array.from(values)));
    return stringTensor(
      [count, 3],
      values.map((value) => "é".repeat(value % 5)),
    );
  });
}

const TYPES: ReadonlyMap<string, ValueType> = new Map([
  ["x", { dtype: "string", shape: ["N", 3] }],
]);

describe("a batch", () => {
  test("joined and cut again is what its members were", () => {
    const counts = fc.array(fc.nat(4), { minLength: 1, maxLength: 5 });
    const dtypes = fc.constantFrom("float32" as const, "int8" as const, "string" as const);
    fc.assert(
      fc.property(dtypes, counts, fc.nat(), (dtype, sizes, seed) => {
        const members = rows(dtype, sizes, seed).map(only);
        const batch = joinMembers(TYPES, members);
        expect(batch.rows).toEqual(sizes);
        const [part] = batch.parts;
        const shape = [sizes.reduce((a, b) => a + b, 0), 3];
        expect(part?.shape).toEqual(shape);
        const bytes = Buffer.concat(part?.pieces ?? []);
        const answers = splitByRows(only({ dtype, shape, data: { kind: "bytes", bytes } }), sizes);
        expect(answers.map(plain)).toEqual(members.map(plain));
      }),
    );
  });
});

describe("a batch in a model's process", () => {
  let affine: ChildSession;
  let strings: ChildSession;
  beforeAll(async () => {
    const runner = childProcessRunner();
    [affine, strings] = await Promise.all([
      runner.load({ bytes: affineModel() }),
      runner.load({ bytes: identityModel("string", ["N", 3]) }),
    ]);
  });
  afterAll(() => Promise.all([affine.close(), strings.close()]));

  test("gives each member what it gets alone", async () => {
    const counts = fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 6 });
    await fc.assert(
      fc.asyncProperty(counts, fc.nat(), fc.boolean(), async (sizes, seed, text) => {
        const members = rows(text ? "string" : "float32", sizes, seed).map(only);
        const session = text ? strings : affine;
        const together = await session.runBatch(members);
        const alone = await Promise.all(members.map((one) => session.run(one)));
        expect(together.map(plain)).toEqual(alone.map(plain));
      }),
      { numRuns: 30 },
    );
  });

  test("computes the outputs that are asked for, and says how long it took", async () => {
    const members = rows("float32", [1, 2], 1).map(only);
    const times: number[] = [];
    const found = await affine.runBatch(members, {
      outputs: ["z"],
      onComputed: (computeMs) => times.push(computeMs),
    });
    expect(found.map((one) => [...one.keys()])).toEqual([["z"], ["z"]]);
    expect(times).toHaveLength(1);
    expect(times[0]).toBeGreaterThan(0);
    expect(await affine.runBatch([])).toEqual([]);
  });

  test("tells the faults of every member", async () => {
    const wrong = [
      only(float32([1, 4], [1, 2, 3, 4])),
      only(float32([1, 3], [1, 2, 3])),
      new Map(),
    ];
    expect((await idsOf(affine.runBatch(wrong))).sort()).toEqual(["input/missing", "input/shape"]);
  });

  test("is refused where rows cannot be told apart", async () => {
    const runner = childProcessRunner();
    await using brittle = await runner.load({ bytes: brittleModel() });
    const four = only(float32([4], [1, 2, 3, 4]));
    expect(await idsOf(brittle.runBatch([four, four]))).toEqual(["runtime/not-batchable"]);
    expect((await brittle.run(four)).size).toBe(1);
    await using fixed = await runner.load({ bytes: identityModel("float32", [4]) });
    expect(await idsOf(fixed.runBatch([four, four]))).toEqual(["runtime/not-batchable"]);
    expect(await fixed.runBatch([four])).toHaveLength(1);
    await using scalar = await runner.load({ bytes: identityModel("float32", []) });
    expect(await idsOf(scalar.runBatch([only(float32([], [1]))]))).toEqual([
      "runtime/not-batchable",
    ]);
    await using pair = await runner.load({ bytes: pairModel() });
    const sizes = (n: number): Tensors =>
      new Map(["a", "b"].map((name) => [name, float32([n], new Float32Array(n))]));
    expect((await pair.runBatch([sizes(1), sizes(2)])).map((one) => one.get("y")?.shape)).toEqual([
      [1],
      [2],
    ]);
    await using wide = await runner.load({ bytes: identityModel("float32", ["N", "W"]) });
    const members = [only(float32([1, 2], [1, 2])), only(float32([2, 1], [1, 2]))];
    expect(await idsOf(wide.runBatch(members))).toEqual(["runtime/not-batchable"]);
  });
});
