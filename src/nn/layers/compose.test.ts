import { describe, expect, test } from "vitest";
import * as nn from "../index.ts";
import {
  agrees,
  built,
  element,
  findingOf,
  randomValues,
  runOn,
  type Values,
  valuesBy,
} from "./layers.test-helper.ts";

// What moves values and puts layers together, against its definition in float64.

describe("shapes", () => {
  const image = randomValues([2, 4, 3, 2]);

  test("flatten, reshape and transpose keep the elements", async () => {
    await agrees(nn.flatten(), image, (x) => ({ ...x, shape: [2, 24] }));
    await agrees(nn.reshape(8, -1), image, (x) => ({ ...x, shape: [2, 8, 3] }));
    await agrees(nn.transpose(0, 2, 3, 1), image, (x) =>
      valuesBy([2, 3, 2, 4], ([b = 0, y = 0, z = 0, c = 0]) => element(x, [b, c, y, z])),
    );
    expect(findingOf(nn.reshape(5, -1), [4, 3])?.id).toBe("nn/reshape");
    expect(findingOf(nn.reshape(5), [4, 3])?.id).toBe("nn/reshape");
    expect(findingOf(nn.reshape(-1, -1), [4, 3])?.id).toBe("nn/reshape");
    expect(findingOf(nn.transpose(0, 2), [4, 3])?.id).toBe("nn/axis");
    expect(findingOf(nn.transpose(0, 1, 1), [4, 3])?.id).toBe("nn/axis");
  });

  test("resize: nearest by areas, linear between the centres", async () => {
    await agrees(nn.resize({ scale: 2 }), image, (x) =>
      valuesBy([2, 4, 6, 4], ([b = 0, c = 0, y = 0, z = 0]) =>
        element(x, [b, c, Math.floor(y / 2), Math.floor(z / 2)]),
      ),
    );
    const between = (size: number, to: number, i: number): [number, number, number] => {
      const at = Math.min(Math.max(((i + 0.5) * size) / to - 0.5, 0), size - 1);
      const low = Math.floor(at);
      return [low, Math.min(low + 1, size - 1), at - low];
    };
    await agrees(nn.resize({ size: [5, 4], mode: "linear" }), image, (x) =>
      valuesBy([2, 4, 5, 4], ([b = 0, c = 0, y = 0, z = 0]) => {
        const [top, bottom, down] = between(3, 5, y);
        const [left, right, across] = between(2, 4, z);
        const at = (row: number): number =>
          element(x, [b, c, row, left]) * (1 - across) + element(x, [b, c, row, right]) * across;
        return at(top) * (1 - down) + at(bottom) * down;
      }),
    );
    expect(findingOf(nn.resize({ scale: 0 }), [4, 3, 2])?.id).toBe("nn/option");
    expect(built(nn.resize({ size: 8, mode: "cubic" }), [4, "H", "W"]).outputs[0]?.shape).toEqual([
      "N",
      4,
      8,
      8,
    ]);
  });
});

describe("layers of layers", () => {
  const image = randomValues([2, 4, 3, 2]);
  const double = nn.layer("double", (net, x) => net.emit("Add", [x, x]));

  test("sums, joins and parts", async () => {
    const by = (f: (v: number, c: number) => number) => (x: Values) =>
      valuesBy(x.shape, (index) => f(element(x, index), index[1] ?? 0));
    await agrees(
      nn.add(nn.identity(), double),
      image,
      by((v) => 3 * v),
    );
    await agrees(
      nn.add(nn.identity(), double, nn.relu()),
      image,
      by((v) => 3 * v + Math.max(v, 0)),
    );
    await agrees(
      nn.split([1, 3], 1, double, nn.relu()),
      image,
      by((v, c) => (c < 1 ? 2 * v : Math.max(v, 0))),
    );
    await agrees(nn.concat(1, nn.identity(), double), image, (x) =>
      valuesBy([2, 8, 3, 2], ([b = 0, c = 0, y = 0, z = 0]) =>
        c < 4 ? element(x, [b, c, y, z]) : 2 * element(x, [b, c - 4, y, z]),
      ),
    );
    expect(built(nn.add(double), [4]).nodes.map((node) => node.op)).toEqual(["Add", "Identity"]);
  });

  test("branches that do not fit: both shapes, and the repair", () => {
    expect(findingOf(nn.add(nn.identity(), nn.conv(8, 3, { stride: 2 })), [4, 8, 8])).toMatchObject(
      {
        id: "shape/mismatch",
        where: expect.stringMatching(/compose\.test\.ts:\d+:\d+/),
        text: 'one branch makes "x" [N,4,8,8], another makes "conv.conv.output" [N,8,4,4]',
        fix: "Add a 1x1 projection 4→8 with stride 2 on the shortcut.",
      },
    );
    expect(findingOf(nn.concat(1, nn.identity(), nn.maxPool(2)), [4, 8, 8])?.id).toBe(
      "shape/mismatch",
    );
    expect(findingOf(nn.concat(5, nn.identity(), nn.identity()), [4, 8, 8])?.id).toBe("nn/axis");
    expect(findingOf(nn.split(3, 1, double, double, double), [4])?.text).toBe(
      "axis 1 of [N,4] does not split into 3 parts",
    );
    expect(findingOf(nn.split(2, 1, double), [4])?.id).toBe("nn/branches");
    expect(findingOf(nn.add(), [4])?.id).toBe("nn/branches");
    expect(findingOf(nn.concat(1), [4])?.id).toBe("nn/branches");
  });
});

describe("sizes that cannot be meant are refused by name", () => {
  const image = [4, 9, 11];
  test.each<[string, nn.Layer, readonly number[]]>([
    ["the padding is -1", nn.conv(4, 3, { padding: -1 }), image],
    ["the padding is 1.5", nn.conv(4, 3, { padding: 1.5 }), image],
    ["the padding is \\[1,2,3\\]", nn.conv(4, 3, { padding: [1, 2, 3] as never }), image],
    ['the padding is "same"', nn.conv(4, 3, { padding: "same" as never }), image],
    ["the kernel is undefined", nn.conv(4, undefined as never), image],
    ["the kernel is \\[3,3,3\\]", nn.conv(4, [3, 3, 3] as never), image],
    ["the stride is 0", nn.conv(4, 3, { stride: 0 }), image],
    ["the padding is -1", nn.convTranspose(4, 2, { padding: -1 }), image],
    ["outputPadding", nn.convTranspose(4, 2, { stride: 2, outputPadding: 2 }), image],
    ["the padding \\[2,2\\] is as large as", nn.maxPool(2, { padding: 2 }), image],
    ["the padding is -1", nn.avgPool(2, { padding: -1 }), image],
    ["\\[NaN,NaN\\] is no scale", nn.resize({} as never), image],
    ["the size is 1.5", nn.resize({ size: 1.5 }), image],
    ['mode of a resize is "area"', nn.resize({ scale: 2, mode: "area" as never }), image],
    ["the axis is", nn.concat(nn.relu() as never, nn.relu()), image],
    ["a global pooling takes", nn.globalPool(), [8]],
    ["an instance normalisation takes", nn.instanceNorm(), [8]],
    ["17592186044416 bytes", nn.dense(2 ** 39), [8]],
    ['is to start as "kaiming"', nn.dense(8, { init: "kaiming" as never }), [8]],
    ["is to start as NaN|is to start as null", nn.dense(8, { init: Number.NaN }), [8]],
    ['is to start as .*"normal"', nn.dense(8, { init: { name: "normal" } as never }), [8]],
  ])("%s", (text, layer, shape) => {
    const found = findingOf(layer, shape);
    expect(found?.text).toMatch(new RegExp(text));
    expect(found?.where).toMatch(/compose\.test\.ts:\d+/);
  });
});

describe("dropout", () => {
  test("does nothing in inference, in both modes of building", async () => {
    const image = randomValues([2, 4]);
    for (const mode of ["inference", "training"] as const) {
      const graph = built(nn.dropout(0.5), [4], { mode });
      expect(await runOn(graph, image)).toEqual(image);
      expect(graph.nodes[0]).toMatchObject({ op: "Dropout", name: "dropout" });
    }
    expect(findingOf(nn.dropout(1), [4])?.id).toBe("nn/option");
    expect(findingOf(nn.dropout(Number.NaN), [4])?.id).toBe("nn/option");
  });
});
