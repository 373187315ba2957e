import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { sound } from "../../test/sound.ts";
import { census } from "../analysis/census.ts";
import { canonicalize } from "../canonical/canonical.ts";
import { inlineFunctions, withBodies } from "../canonical/inline.ts";
import type { Graph, Node, ValueName } from "../graph/graph.ts";
import { graph } from "../graph/text.test-helper.ts";
import * as nn from "../nn/index.ts";
import { modelOf } from "../onnx/onnx-model.ts";
import { readModel } from "../onnx/read.ts";
import { encodeModel } from "../onnx/write.ts";
import { withFunctions } from "./functions.ts";

/** Nodes with values numbered in order, so that graphs that differ in names alone are equal. */
function numbered(nodes: readonly Node[], outer: ReadonlyMap<ValueName, ValueName> = new Map()) {
  const names = new Map(outer);
  const nameOf = (name: ValueName): ValueName => names.get(name) ?? name;
  const give = (name: ValueName): void => void (name !== "" && names.set(name, `#${names.size}`));
  return nodes.map((node): unknown => {
    const bodies: unknown[] = [];
    withBodies(node, (body) => {
      const inside = new Map(names);
      for (const { name } of body.inputs) inside.set(name, `#${inside.size}`);
      bodies.push(numbered(body.nodes, inside));
      return body;
    });
    const inputs = node.inputs.map(nameOf);
    node.outputs.forEach(give);
    const plain = [...node.attributes].filter(([, one]) => !one.kind.startsWith("graph"));
    return [node.op, node.domain, inputs, node.outputs.map(nameOf), plain, bodies];
  });
}

/** That calling functions changes nothing: taken apart again, it is the graph that it was. */
function isTheWayBack(plain: Graph): Graph {
  const called = sound(withFunctions(plain));
  const flat = sound(inlineFunctions(called));
  expect(numbered(flat.nodes)).toEqual(numbered(plain.nodes));
  expect([flat.inputs, flat.outputs]).toEqual([plain.inputs, plain.outputs]);
  expect(flat.initializers).toEqual(plain.initializers);
  return called;
}

function build(layer: nn.Layer, shape: nn.NetInput["shape"] = [4, 8, 8]): Graph {
  return nn.buildNet(layer, { input: { name: "x", shape }, output: "y", seed: 1 });
}

describe("layers as functions", () => {
  const net = nn.sequential(
    nn.conv(4, 3),
    nn.residual(4),
    nn.residual(4),
    nn.residual(8, { stride: 2 }),
    nn.globalPool(),
    nn.dense(3),
  );

  test("every layer is a call, and layers of the same make call one function", () => {
    const called = isTheWayBack(build(net));
    expect(called.nodes.map((node) => `${node.name}: ${node.op}`)).toEqual([
      "conv: conv",
      "residual: residual",
      "residual2: residual",
      "residual3: residual_2",
      "pool: pool",
      "dense: dense",
      "y: Identity",
    ]);
    const block = called.functions?.get("skipway.layers/residual");
    expect(block?.nodes.map((node) => node.name)).toEqual([
      ...["conv", "norm", "relu", "conv2", "norm2", "merge", "relu2"],
    ]);
    expect(block?.inputs.slice(0, 3)).toEqual(["x", "conv.weight", "norm.scale"]);
  });

  test("the canonical form and the census are those of the plain graph", () => {
    const plain = build(net);
    const called = withFunctions(plain);
    expect(numbered(canonicalize(called).nodes)).toEqual(numbered(canonicalize(plain).nodes));
    expect(census(called).counts).toEqual(census(plain).counts);
    expect(census(called).counts.total).toBe(3);
  });

  test("written and read, they are the same", () => {
    const called = withFunctions(build(net));
    const read = readModel(encodeModel(modelOf(called)));
    expect(read.graph.functions).toEqual(called.functions);
    expect(read.graph.nodes).toEqual(called.nodes);
    // What was read keeps its functions, whatever graph is put in their place.
    expect(encodeModel(read)).toEqual(encodeModel(modelOf(called)));
  });

  test("a body stays in its layer, and sees the values of the function", () => {
    const chosen = nn.layer("chosen", (one, x) => {
      const doubled = one.emit("Add", [x, x]);
      const sum = one.emit("ReduceSum", [doubled], {
        attributes: { keepdims: { kind: "int", value: 0 } },
      });
      const condition = one.emit("Cast", [sum], { attributes: { to: { kind: "int", value: 9 } } });
      return one.either(
        condition,
        (inner) => inner.inside(nn.dense(4), doubled),
        () => x,
      );
    });
    const called = isTheWayBack(build(nn.sequential(chosen, chosen), [4]));
    // Twice the same layer: one function.
    expect([...(called.functions?.keys() ?? [])]).toEqual(["skipway.layers/chosen"]);
  });

  test("an output that is named after a layer stands beside it", () => {
    const split = nn.layer("head", (one, x) => {
      one.output("head.raw", one.inside(nn.relu(), x));
      return x;
    });
    const called = isTheWayBack(build(nn.sequential(nn.conv(4, 3), split)));
    expect(called.nodes.map((node) => node.name)).toEqual(["conv", "head", "y", "head.raw"]);
  });

  test("a graph without paths is the same graph", () => {
    const plain = graph`g (float[2] x) => (float[2] y) { y = Neg (x) }`;
    expect(withFunctions(plain)).toBe(plain);
  });

  test("whatever the paths are, torn apart, deep or of dots alone", () => {
    const part = fc.constantFrom("a", "b", "a2", "", "c d", "2");
    const path = fc.oneof(
      fc.array(part, { maxLength: 4 }),
      fc.constant(Array.from({ length: 100 }, () => "deep")),
    );
    const nodes = fc.array(
      fc.record({ path, reads: fc.array(fc.nat(), { minLength: 1, maxLength: 3 }) }),
      {
        minLength: 1,
        maxLength: 12,
      },
    );
    fc.assert(
      fc.property(nodes, (list) => {
        const value = (i: number): string => (i === 0 ? "x" : `v${i}`);
        const made = list.map(
          ({ path: layers, reads }, i): Node => ({
            name: [...layers, `n${i}`].join("."),
            op: "Sum",
            domain: "",
            inputs: reads.map((at) => value(at % (i + 1))),
            outputs: [value(i + 1)],
            attributes: new Map(),
          }),
        );
        const ends = { dtype: "float32", shape: [2] } as const;
        isTheWayBack({
          ...graph`g (float[2] x) => (float[2] y) { y = Neg (x) }`,
          nodes: made,
          outputs: [{ name: value(list.length), ...ends }],
        });
      }),
    );
  });
});
