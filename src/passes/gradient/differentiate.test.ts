import { describe, expect, test } from "vitest";
import { sound } from "../../../test/sound.ts";
import { SkipwayError } from "../../base/errors.ts";
import { TypedBuilder } from "../../canonical/typed-builder.ts";
import { float32 } from "../../graph/tensor.ts";
import { differentiate } from "./differentiate.ts";

function chain(op: string, opset = 20) {
  const builder = new TypedBuilder();
  builder.input("x", "float32", [2, 2]);
  builder.initializer("w", float32([2, 2], [1, 2, 3, 4]));
  builder.initializer("unused", float32([1], [1]));
  const y = builder.emit("MatMul", ["x", "w"]);
  const z = builder.emit(op, [y]);
  builder.emit("ReduceSum", [z], {
    outputs: ["loss"],
    attributes: { keepdims: { kind: "int", value: 0 } },
  });
  builder.output({ name: "loss", dtype: "float32", shape: [] });
  return builder.finish("chain", new Map([["", opset]]));
}

function idsOf(work: () => unknown): string[] {
  try {
    work();
  } catch (error) {
    if (error instanceof SkipwayError) return error.diagnostics.map((one) => one.id);
    throw error;
  }
  return [];
}

describe("differentiate", () => {
  test("appends to the graph: the forward nodes stay as they were", () => {
    const graph = chain("Tanh");
    const { graph: both, gradients } = differentiate(graph, { loss: "loss", wrt: ["w"] });
    expect(both.nodes.slice(0, graph.nodes.length)).toEqual(graph.nodes);
    sound(both);
    expect([...gradients.keys()]).toEqual(["w"]);
  });

  test("makes nothing for inputs that are not asked for", () => {
    const one = differentiate(chain("Tanh"), { loss: "loss", wrt: ["w"] }).graph.nodes.length;
    const two = differentiate(chain("Tanh"), { loss: "loss", wrt: ["w", "x"] }).graph.nodes.length;
    expect(one).toBeLessThan(two);
  });

  test("sums the gradients of a value that is read twice, as a skip does", () => {
    const builder = new TypedBuilder();
    builder.input("x", "float32", [3]);
    const y = builder.emit("Tanh", ["x"]);
    const z = builder.emit("Add", [builder.emit("Sigmoid", [y]), y]);
    builder.emit("ReduceSum", [z], { outputs: ["loss"] });
    const graph = builder.finish("skip", new Map([["", 20]]));
    const made = differentiate(graph, { loss: "loss", wrt: ["x"] });
    expect(made.graph.nodes.filter((node) => node.op === "Sum")).toHaveLength(1);
  });

  test.each([
    [
      "an op without a rule",
      () => differentiate(chain("Det"), { loss: "loss", wrt: ["w"] }),
      "gradient/unsupported",
    ],
    [
      "a value off the path",
      () => differentiate(chain("Tanh"), { loss: "loss", wrt: ["unused"] }),
      "gradient/no-path",
    ],
    [
      "an op that is constant",
      () => differentiate(chain("Floor"), { loss: "loss", wrt: ["w"] }),
      "gradient/no-path",
    ],
    [
      "an old operator set",
      () => differentiate(chain("Tanh", 13), { loss: "loss", wrt: ["w"] }),
      "gradient/opset",
    ],
  ])("%s is refused with a finding", (_what, work, id) => {
    expect(idsOf(work)).toEqual([id]);
  });
});
