import { describe, expect, test } from "vitest";
import { sound } from "../../test/sound.ts";
import { SkipwayError } from "../base/errors.ts";
import { inferShapes } from "../canonical/infer-shapes.ts";
import { type Attribute, type Graph, int, type ValueName } from "../graph/graph.ts";
import { float32, float32Values, int64, type Tensor } from "../graph/tensor.ts";
import { modelOf } from "../onnx/onnx-model.ts";
import { encodeModel } from "../onnx/write.ts";
import { inProcessRunner } from "../runtime/in-process.ts";
import * as nn from "./index.ts";
import type { Net } from "./net.ts";

const input: nn.NetInput = { name: "x", shape: [4] };

function build(root: nn.Layer, more: Partial<nn.BuildOptions> = {}): Graph {
  return nn.buildNet(root, { input, output: "y", seed: 1, ...more });
}

async function run(graph: Graph, feeds: Record<string, Tensor>): Promise<Map<string, number[]>> {
  const session = await inProcessRunner().load({ bytes: encodeModel(modelOf(graph)) });
  try {
    const found = await session.run(new Map(Object.entries(feeds)));
    return new Map(
      [...found].map(([name, t]) => [name, t.dtype === "float32" ? [...float32Values(t)] : []]),
    );
  } finally {
    await session.close();
  }
}

const times = (factor: number) =>
  nn.layer("times", (net, x) => net.emit("Mul", [x, net.constant(float32([], [factor]))]));

/** Whether the first element of the first example is above zero. */
function gate(net: Net, x: ValueName): ValueName {
  const zero = net.constant(int64([1], [0]));
  const one = net.constant(int64([1], [1]));
  const axes = net.constant(int64([2], [0, 1]));
  const first = net.emit("Slice", [
    x,
    net.constant(int64([2], [0, 0])),
    net.constant(int64([2], [1, 1])),
    axes,
  ]);
  const flat = net.emit("Reshape", [first, one]);
  return net.emit("Greater", [
    flat,
    net.emit("Cast", [zero], { attributes: { to: { kind: "int", value: 1 } } }),
  ]);
}

describe("a network as its layers see it", () => {
  test("names are the user's own", () => {
    const stage = nn.named("stage2", nn.sequential(nn.named("block1", nn.dense(4)), nn.relu()));
    const names = [...build(nn.sequential(stage, nn.dense(2))).initializers.keys()];
    expect(names).toEqual([
      "stage2.block1.weight",
      "stage2.block1.bias",
      "dense.weight",
      "dense.bias",
    ]);
  });

  test("a layer without a name stands where the layer around it stands", () => {
    const two = nn.sequential(nn.dense(4), nn.sequential(nn.dense(4), nn.relu()));
    const block = nn.layer("block", (net, x) => net.inside(two, net.inside(two, x)));
    const graph = build(nn.sequential(two, nn.sequential(block, nn.dense(2))));
    // Each has weights of its own.
    expect([...graph.initializers.keys()].filter((name) => name.endsWith("weight"))).toEqual([
      ...["dense.weight", "dense2.weight"],
      ...[1, 2, 3, 4].map((n) => `block.dense${n === 1 ? "" : n}.weight`),
      "dense3.weight",
    ]);
    expect(graph.name).toBe("net");
  });

  test("no two layers share weights by having one path", () => {
    const named = (name: string) => nn.named(name, nn.dense(4));
    const chosen = (net: Net, x: ValueName) =>
      net.either(
        gate(net, x),
        (inner) => inner.inside(nn.dense(4), x),
        () => x,
      );
    const twice = nn.layer("twice", (net, x) => chosen(net, chosen(net, x)));
    const weightsOf = (...layers: readonly nn.Layer[]) =>
      [...sound(build(nn.sequential(...layers))).initializers.keys()].filter((name) =>
        name.endsWith("weight"),
      );
    expect(weightsOf(nn.dense(4), nn.dense(4), named("dense2"))).toHaveLength(3);
    expect(weightsOf(named("dense2"), nn.dense(4), nn.dense(4), nn.dense(4))).toHaveLength(4);
    expect(weightsOf(nn.named("a", nn.sequential(named("b"))), named("a.b"))).toHaveLength(2);
    expect(weightsOf(twice)).toHaveLength(2);
  });

  test("further inputs and outputs", async () => {
    const scaled = nn.layer("scaled", (net, x) => {
      const scale = net.input("scale", ["N", 1]);
      expect(net.input("scale", ["N", 1])).toBe(scale);
      const y = net.emit("Mul", [x, scale]);
      net.output("doubled", net.inside(times(2), y));
      return y;
    });
    const graph = build(scaled);
    sound(graph);
    expect(graph.inputs.map((one) => one.name)).toEqual(["x", "scale"]);
    const found = await run(graph, {
      x: float32([1, 4], [1, 2, 3, 4]),
      scale: float32([1, 1], [10]),
    });
    expect(found.get("y")).toEqual([10, 20, 30, 40]);
    expect(found.get("doubled")).toEqual([20, 40, 60, 80]);
  });

  test("inside a branch there is no output of the network", () => {
    const told = nn.layer("told", (net, x) => {
      net.output("seen", x);
      return net.emit("Relu", [x]);
    });
    expect(() => build(nn.conditional(told))).toThrow(/inside a branch/);
  });

  test("an output may be named after its place; a name that is taken is an error", () => {
    const told = nn.layer("told", (net, x) => {
      net.output(`${net.path}.seen`, x);
      return net.emit("Relu", [x]);
    });
    const graph = build(nn.sequential(told, nn.named("stage2", nn.sequential(told, told))));
    sound(graph);
    expect(graph.outputs.map((one) => one.name)).toEqual([
      "y",
      "told.seen",
      "stage2.told.seen",
      "stage2.told2.seen",
    ]);
    const again = nn.layer("again", (net, x) => {
      net.output("y", x);
      return x;
    });
    expect(() => build(again)).toThrow(/two outputs of the network are called "y"/);
  });

  test("one of two parts, with weights of its own that stand outside", async () => {
    const chosen = nn.layer("chosen", (net, x) =>
      net.either(
        gate(net, x),
        (inner) => inner.inside(nn.dense(4), x),
        () => x,
      ),
    );
    const graph = build(nn.sequential(chosen, times(1)));
    sound(graph);
    expect([...graph.initializers.keys()]).toContain("chosen.then.dense.weight");
    expect(graph.outputs[0]?.shape).toEqual(["N", 4]);
    const shut = await run(graph, { x: float32([1, 4], [-1, 2, 3, 4]) });
    expect(shut.get("y")).toEqual([-1, 2, 3, 4]);
    const open = await run(graph, { x: float32([1, 4], [1, 2, 3, 4]) });
    expect(open.get("y")).not.toEqual([1, 2, 3, 4]);
  });

  test("shapes inside a body are those of its operator set, however often they are inferred", () => {
    // Up to operator set 6 a product has the shape of its first factor.
    const spread = nn.layer("spread", (net, x) => {
      const one = net.inside(nn.dense(1), x);
      return net.either(
        gate(net, x),
        (inner) => inner.emit("Mul", [one, inner.emit("Relu", [x])]),
        () => x,
      );
    });
    const again = inferShapes(build(spread), new Map([["N", 2]]));
    const body = again.nodes.find((node) => node.op === "If")?.attributes.get("then_branch");
    if (body?.kind !== "graph") throw new Error("no body");
    expect(body.value.values.get("then.mul.output")?.shape).toEqual([2, 4]);
  });

  test("the same part several times, with the same weights", async () => {
    const looped = nn.layer("recurrent", (net, x) =>
      net.repeat(3, x, (inner, state) => inner.emit("Add", [state, inner.inside(times(2), state)])),
    );
    const graph = build(looped);
    sound(graph);
    expect(graph.outputs[0]?.shape).toEqual(["N", 4]);
    const found = await run(graph, { x: float32([1, 4], [1, 0, 2, -1]) });
    expect(found.get("y")).toEqual([27, 0, 54, -27]);
  });

  test("weights may be left out, and have the same names in training", () => {
    const net = nn.sequential(nn.dense(3), nn.relu(), nn.dense(2));
    const absent = build(net, { weights: "absent" });
    expect([...absent.initializers.values()].map((ref) => ref.data.kind)).toEqual(
      Array.from({ length: 4 }, () => "absent"),
    );
    expect([...build(net, { mode: "training" }).initializers.keys()]).toEqual([
      ...absent.initializers.keys(),
    ]);
  });

  test("shapes that are computed in the graph are known", () => {
    const spread = nn.layer("spread", (net, x) => {
      const shape = net.emit("Shape", [x]);
      return net.emit("Expand", [net.constant(float32([], [1])), shape]);
    });
    expect(build(spread, { input: { name: "x", shape: ["S", 4] } }).outputs[0]?.shape).toEqual([
      "N",
      "S",
      4,
    ]);
  });

  test("what is made once is the same for all who ask, and counts as long as the sequence", () => {
    const count = nn.layer("count", (net, x) => {
      const places = net.once("places", (root) => {
        const size = root.emit("Shape", [x], { attributes: { start: int(1), end: int(2) } });
        const [zero, one] = [0, 1].map((value) => root.constant(int64([], [value])));
        return root.emit("Range", [zero ?? "", root.emit("Squeeze", [size]), one ?? ""]);
      });
      expect(net.shape(places)).toEqual(["S"]);
      return net.emit("Add", [x, net.emit("Cast", [places], { attributes: { to: int(1) } })]);
    });
    const graph = build(nn.sequential(count, count), { input: { name: "x", shape: ["S"] } });
    sound(graph);
    expect(graph.nodes.filter((node) => node.op === "Range").map((node) => node.name)).toEqual([
      "places.range",
    ]);
    expect(graph.outputs[0]?.shape).toEqual(["N", "S"]);
  });

  test("what is made once inside a body is not read outside it", async () => {
    const asked = (net: Net, x: ValueName) =>
      net.emit("Add", [x, net.once("doubled", (root) => root.emit("Add", [x, x]))]);
    const chosen = nn.layer("chosen", (net, x) =>
      asked(
        net,
        net.either(
          gate(net, x),
          (inner) => asked(inner, x),
          () => x,
        ),
      ),
    );
    const graph = build(chosen);
    sound(graph);
    const found = await run(graph, { x: float32([1, 4], [1, 2, 3, 4]) });
    expect(found.get("y")).toEqual([9, 18, 27, 36]);
  });

  test("a finding names the user's own line", () => {
    const wrong = nn.sequential(nn.named("stage", nn.dense(3)));
    const place = /^layer stage \(.*net\.test\.ts:\d+:\d+\)$/;
    try {
      build(wrong, { input: { name: "x", shape: [] } });
      expect.unreachable();
    } catch (error) {
      if (!(error instanceof SkipwayError)) throw error;
      expect(error.diagnostics[0]?.where).toMatch(place);
    }
  });

  test.each([[[]], [[0]], [[-1]], [[Number.NaN]], [[1.5]], [[2, Number.POSITIVE_INFINITY]]])(
    "a weight of shape %j is refused by name",
    (shape) => {
      const own = nn.layer("own", (net, x) => net.emit("Mul", [x, net.weight("alpha", shape, 0)]));
      expect(() => build(own)).toThrow(/the weight "alpha" has shape/);
    },
  );

  describe("what a layer of one's own gets wrong is told at its line", () => {
    const own = (build: nn.Layer["build"]) => nn.sequential(nn.dense(4), nn.layer("own", build));
    const findingOf = (root: nn.Layer) => {
      try {
        build(root);
      } catch (error) {
        if (error instanceof SkipwayError) return error.diagnostics[0];
      }
      return undefined;
    };
    const relu =
      (attributes: object): nn.Layer["build"] =>
      // As JavaScript would call it.
      (net, x) =>
        net.emit("LeakyRelu", [x], { attributes: attributes as { alpha: Attribute } });

    test.each<[string, nn.Layer["build"], string]>([
      ["nn/attribute", relu({ alpha: 1 }), '"alpha" of LeakyRelu is without a kind: 1'],
      ["nn/attribute", relu({ alpha: nn.float(Number.NaN) }), '"alpha" of LeakyRelu is float: NaN'],
      ["nn/attribute", relu({ alpha: nn.int(1.5) }), '"alpha" of LeakyRelu is int: 1.5'],
      ["ops/input-count", (net, x) => net.emit("Relu", [x, x]), "has 2 inputs"],
      ["ops/missing-attribute", (net, x) => net.emit("Concat", [x, x]), '"axis"'],
      ["ops/unknown-attribute", relu({ slope: nn.float(1) }), '"slope"'],
      ["ops/input-type", (net, x) => net.emit("Gather", [x, x]), "is float32"],
      ["nn/value", (net) => net.emit("Relu", ["nothing"]), 'Relu reads "nothing"'],
      ["nn/value", () => "nothing", 'the layer gives "nothing"'],
    ])("%s", (id, wrong, text) => {
      const found = findingOf(own(wrong));
      expect(found).toMatchObject({
        id,
        text: expect.stringContaining(text),
        where: expect.stringMatching(/^layer own \(.*net\.test\.ts:/),
      });
    });

    test("operands that do not fit: both tensors, their shapes, and the repair", () => {
      const sum = (size: number) =>
        own((net, x) => net.emit("Add", [x, net.weight("scale", [size], 1)]));
      sound(build(sum(1)));
      expect(findingOf(sum(7))).toMatchObject({
        id: "shape/mismatch",
        text: 'Add cannot join "dense.gemm.output" [N,4] and "own.scale" [7]',
        where: expect.stringMatching(/^layer own \(.*net\.test\.ts:/),
      });
      const join = (axis: number) =>
        own((net, x) => {
          const two = net.emit("Concat", [x, x], { attributes: { axis: nn.int(1) } });
          return net.emit("Concat", [x, two], { attributes: { axis: nn.int(axis) } });
        });
      sound(build(join(1)));
      expect(findingOf(join(0))?.text).toMatch(/cannot join .*\[N,4\] and .*\[N,8\]/);
    });

    test.each<[string, unknown, RegExp]>([
      ["a maker", nn.relu, /of type function/],
      ["a list", [nn.relu()], /a list/],
      ["nothing", undefined, /of type undefined/],
    ])("%s in the place of a layer", (_, given, text) => {
      for (const root of [
        nn.sequential(nn.dense(4), given as nn.Layer),
        nn.named("own", given as nn.Layer),
        given as nn.Layer,
      ]) {
        expect(findingOf(root)?.text).toMatch(text);
      }
    });
  });

  test("a name that is taken, and an example of no shape", () => {
    const own = (build: nn.Layer["build"]) => nn.layer("", build);
    const told = own((net, x) => {
      net.output("x", x);
      return net.emit("Relu", [x]);
    });
    const weighed = own((net, x) => net.emit("Mul", [x, net.weight("x", [4], 1)]));
    const asked = own((net, x) =>
      net.emit("Mul", [net.emit("Relu", [x], { name: "scores" }), net.input("scores", ["N", 4])]),
    );
    expect(() => build(nn.relu(), { output: "x" })).toThrow(/output "x" has the name of another/);
    expect(() => build(told)).toThrow(/output "x" has the name of another/);
    expect(() => build(weighed)).toThrow(/weight "x" has the name of another/);
    expect(() => build(asked)).toThrow(/input "scores" has the name of another/);
    for (const size of [-1, 0, 1.5, Number.NaN, "", "N"]) {
      const input = { name: "x", shape: [size] };
      expect(() => build(nn.relu(), { input })).toThrow(/examples of shape/);
    }
  });

  test("an input is one thing to all who ask for it", () => {
    const asks = (name: string, size: number) =>
      nn.layer("asks", (net, x) => net.emit("Add", [x, net.input(name, ["N", size])]));
    sound(build(nn.sequential(asks("mask", 4), asks("mask", 4))));
    expect(() => build(nn.sequential(asks("mask", 4), asks("mask", 1)))).toThrow(
      /input "mask" is asked for as float32.*4\] and as float32.*1\]/,
    );
    expect(() => build(asks("x", 4))).toThrow(/own input is called "x" already/);
  });
});
