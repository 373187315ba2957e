import { BinaryWriter } from "@bufbuild/protobuf/wire";
import { describe, expect, test } from "vitest";
import { SkipwayError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { numbersOf } from "../graph/tensor.ts";
import { readModel } from "./read.ts";
import { decodedBytes } from "./wire-scan.ts";

// Files written field by field, as no writer of models would write them.

type Field = readonly [number, Uint8Array | number | readonly Field[]];

function message(...fields: Field[]): Uint8Array {
  const writer = new BinaryWriter();
  for (const [number, content] of fields) {
    if (typeof content === "number") writer.tag(number, 0).int64(BigInt(content));
    else {
      const bytes = content instanceof Uint8Array ? content : message(...content);
      writer.tag(number, 2).bytes(bytes);
    }
  }
  return writer.finish();
}

function times(count: number, ...fields: Field[]): Field[] {
  return Array.from({ length: count }, () => fields).flat();
}

const text = (value: string): Uint8Array => Buffer.from(value, "utf8");
const EMPTY = new Uint8Array();

/** A model around a graph: IR 8, opset 20. */
function model(graph: readonly Field[], ...more: Field[]): Uint8Array {
  return message([1, 8], [8, [[2, 20]]], [7, graph], ...more);
}

function findings(bytes: Uint8Array): string[] {
  try {
    readModel(bytes);
    return [];
  } catch (error) {
    if (!(error instanceof SkipwayError)) throw error;
    return [...new Set(error.diagnostics.map((one) => one.id))];
  }
}

describe("what a file would take is known before it is decoded", () => {
  /** So many of a thing that their count alone is over the limit, in a file of a few megabytes. */
  const many = (one: Uint8Array): Uint8Array =>
    new Uint8Array(Buffer.alloc(3_000_000 * one.length, one));
  /** The same inside the message of a field. */
  const inside = (path: readonly number[], bytes: Uint8Array): Uint8Array =>
    path.reduceRight((inner, number) => message([number, inner]), bytes);
  const start = message([1, 8], [8, [[2, 20]]]);

  test.each<[string, number[], Uint8Array]>([
    ["nodes", [7], message([1, EMPTY])],
    ["attributes", [7, 1], message([5, EMPTY])],
    ["texts in an attribute", [7, 1, 5], message([9, EMPTY])],
    ["weights", [7], message([5, EMPTY])],
    ["texts in a weight", [7, 5], message([6, EMPTY])],
    ["sparse weights", [7], message([15, EMPTY])],
    ["elements of a weight one by one", [7, 5], message([5, 0])],
    ["elements of a weight in many lists", [7, 5], message([4, EMPTY])],
    ["types", [7], message([13, EMPTY])],
    ["functions", [], message([25, EMPTY])],
    ["training graphs", [], message([20, [[1, EMPTY]]])],
    ["fields that no version has", [], message([999, EMPTY])],
  ])("%s", (_what, path, one) => {
    const file = Buffer.concat([start, inside(path, many(one))]);
    expect(decodedBytes(file)).toBeGreaterThan(limits.decodedBytesMax);
    expect(findings(file)).toEqual(["onnx/limit"]);
  });

  test("integers of a byte that become objects", () => {
    const ints = new Uint8Array(10_000_000);
    expect(findings(model([[1, [[5, [[8, ints]]]]]]))).toEqual(["onnx/limit"]);
  });

  test("integers of a weight of a byte that become eight", () => {
    const file = model([[5, [[7, new Uint8Array(1_000_000)]]]]);
    expect(decodedBytes(file)).toBeGreaterThan(7_000_000);
  });

  test("but weights count nothing: they stay in the file", () => {
    const elements = new Uint8Array(40_000_000);
    for (const [field, dtype, count] of [
      [9, 1, 10_000_000],
      [4, 1, 10_000_000],
      [10, 11, 5_000_000],
    ] as const) {
      const file = model([
        [
          5,
          [
            [1, count],
            [2, dtype],
            [field, elements],
            [8, text("w")],
          ],
        ],
      ]);
      expect(decodedBytes(file)).toBeLessThan(10_000);
      const data = readModel(file).graph.initializers.get("w")?.data;
      expect(data?.kind === "bytes" && data.bytes.buffer === file.buffer).toBe(true);
    }
  });
});

describe("messages that contradict themselves", () => {
  test("a length beyond the message around it, and beyond the file", () => {
    const graph = message([2, text("g")]);
    for (const length of [graph.length + 100, 2 ** 31, 2 ** 32 - 1]) {
      const head = new BinaryWriter().tag(7, 2).uint32(length).finish();
      const start = message([1, 8], [8, [[2, 20]]]);
      expect(findings(Buffer.concat([start, head, graph]))).toEqual(["onnx/not-onnx"]);
    }
  });

  // Where a decoder goes on at the end of the field, it would find three million nodes in the bytes of a weight.
  test("a field beyond its message, behind which something else would be read", () => {
    const weight = message([
      5,
      [[9, new Uint8Array(Buffer.alloc(6_000_000, Uint8Array.of(0x0a, 0)))]],
    ]);
    const node = Uint8Array.of(0x0a, 2, 0x1a, weight.length - 6_000_000);
    const graph = new Uint8Array(Buffer.concat([node, weight]));
    expect(findings(message([1, 8], [8, [[2, 20]]], [7, graph]))).toEqual(["onnx/not-onnx"]);
  });

  // A decoder that does not look at the form of a field would take the number for the length of a node.
  test("a field in a form that its type does not have", () => {
    const texts = message([5, new Uint8Array(Buffer.alloc(6_000_000, Uint8Array.of(0x4a, 0)))]);
    const graph = new Uint8Array(Buffer.concat([message([1, texts.length]), texts]));
    expect(findings(message([1, 8], [8, [[2, 20]]], [7, graph]))).toEqual(["onnx/not-onnx"]);
    expect(findings(message([1, text("8")], [8, [[2, 20]]], [7, EMPTY]))).toEqual([
      "onnx/not-onnx",
    ]);
  });

  test("messages nested without end", () => {
    let graph: Uint8Array = EMPTY;
    for (let depth = 0; depth < 5000; depth++) {
      graph = message([
        1,
        [
          [
            5,
            [
              [20, 5],
              [6, graph],
            ],
          ],
        ],
      ]);
    }
    expect(findings(message([1, 8], [8, [[2, 20]]], [7, graph]))).toEqual(["onnx/not-onnx"]);
  });

  test("groups nested without end", () => {
    const open = Buffer.alloc(1_000_000, new BinaryWriter().tag(100, 3).finish());
    expect(findings(Buffer.concat([model([]), open]))).toEqual(["onnx/not-onnx"]);
    expect(findings(model([[5, open]]))).not.toEqual([]);
  });

  test("many nodes of one name are told apart in little time", () => {
    const nodes = times(50_000, [
      1,
      [
        [3, text("same")],
        [4, text("Relu")],
      ],
    ]);
    const names = readModel(model(nodes)).graph.nodes.map((node) => node.name);
    expect(new Set(names).size).toBe(50_000);
  });

  test("thousands of faults are counted, and two hundred told", () => {
    const nodes = times(5000, [
      1,
      [
        [1, text("nowhere")],
        [4, text("Relu")],
      ],
    ]);
    try {
      readModel(model(nodes));
      expect.unreachable();
    } catch (error) {
      if (!(error instanceof SkipwayError)) throw error;
      expect(error.diagnostics.length).toBe(limits.diagnosticsMax + 1);
    }
  });
});

describe("elements of a tensor, in every form that the wire allows", () => {
  const valuesOf = (dtype: number, count: number, ...fields: Field[]): number[] | undefined => {
    const weight: Field[] = [[1, count], [2, dtype], [8, text("w")], ...fields];
    const ref = readModel(model([[5, weight]])).graph.initializers.get("w");
    return ref && numbersOf(ref);
  };
  const floats = (...list: number[]): Uint8Array => new Uint8Array(Float32Array.from(list).buffer);

  test("a packed list in one piece, in several, and between other fields", () => {
    expect(valuesOf(1, 3, [4, floats(1, 2, 3)])).toEqual([1, 2, 3]);
    expect(valuesOf(1, 3, [4, floats(1)], [12, text("doc")], [4, floats(2, 3)])).toEqual([1, 2, 3]);
  });

  test("single elements that nobody packed", () => {
    const unpacked = new BinaryWriter().tag(4, 5).float(1.5).tag(4, 5).float(-2).finish();
    const head = message([1, 2], [2, 1], [8, text("w")]);
    const weight = new Uint8Array(Buffer.concat([head, unpacked]));
    const { initializers } = readModel(model([[5, weight]])).graph;
    const ref = initializers.get("w");
    expect(ref && numbersOf(ref)).toEqual([1.5, -2]);
    expect(valuesOf(7, 2, [7, -1], [7, 5])).toEqual([-1, 5]);
  });

  test("negative and large integers", () => {
    const packed = new BinaryWriter()
      .int64(-1n)
      .int64(2n ** 40n)
      .finish();
    expect(valuesOf(7, 2, [7, packed])).toEqual([-1, 2 ** 40]);
    const small = new BinaryWriter().int32(-7).int32(300).finish();
    expect(valuesOf(6, 2, [5, small])).toEqual([-7, 300]);
    expect(valuesOf(5, 2, [5, small])).toEqual([-7, 300]);
  });

  test("too many, too few, and a list that is cut off", () => {
    const weight = (...fields: Field[]) =>
      findings(model([[5, [[1, 2], [2, 7], [8, text("w")], ...fields]]]));
    expect(weight([7, Uint8Array.of(1)])).toEqual(["onnx/tensor"]);
    expect(weight([7, Uint8Array.of(1, 2, 3)])).toEqual(["onnx/tensor"]);
    expect(weight([7, Uint8Array.of(1, 0x80)])).toEqual(["onnx/tensor"]);
    expect(weight([7, new Uint8Array(12).fill(0xff)])).toEqual(["onnx/tensor"]);
    expect(weight([7, Uint8Array.of(1, 2)])).toEqual([]);
    expect(weight()).toEqual([]);
  });

  test("an attribute that is no text stays as it is", () => {
    const bytes = Uint8Array.of(0xff, 0xfe, 0);
    const node: Field[] = [
      [4, text("EPContext")],
      [7, text("com.microsoft")],
    ];
    const file = model([
      [
        1,
        [
          ...node,
          [
            5,
            [
              [1, text("blob")],
              [4, bytes],
              [20, 3],
            ],
          ],
        ],
      ],
    ]);
    const attribute = readModel(file).graph.nodes[0]?.attributes.get("blob");
    expect(attribute?.kind).toBe("opaque");
  });
});
