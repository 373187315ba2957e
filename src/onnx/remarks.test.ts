import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import type { Attribute, Graph } from "../graph/graph.ts";
import { withGraph } from "./onnx-model.ts";
import {
  type GraphProtoSchema,
  ModelProtoSchema,
  TensorProtoSchema,
  AttributeProto_AttributeType as Type,
  type TypeProtoSchema,
  type ValueInfoProtoSchema,
} from "./proto/onnx_pb.js";
import { readModel } from "./read.ts";
import { absentWeights } from "./weights.ts";
import { encodeModel } from "./write.ts";

const metadataProps = [{ key: "k", value: "v" }];
const docString = "about it";

function tensor(name: string): Uint8Array {
  const two = { name, dataType: 1, dims: [2n], docString, metadataProps };
  const raw = Uint8Array.of(0x4a, 8, 0, 0, 0, 0, 0, 0, 0x80, 0x3f);
  return Buffer.concat([toBinary(TensorProtoSchema, create(TensorProtoSchema, two)), raw]);
}

const dim = { value: { case: "dimValue" as const, value: 2n }, denotation: "DATA_BATCH" };
const dense: MessageInitShape<typeof TypeProtoSchema> = {
  denotation: "IMAGE",
  value: { case: "tensorType", value: { elemType: 1, shape: { dim: [dim] } } },
};
const sparse: MessageInitShape<typeof TypeProtoSchema> = {
  value: { case: "sparseTensorType", value: { elemType: 1 } },
};

function value(
  name: string,
  type?: MessageInitShape<typeof TypeProtoSchema>,
): MessageInitShape<typeof ValueInfoProtoSchema> {
  return { name, docString, metadataProps, ...(type === undefined ? {} : { type }) };
}

/** A graph that says of everything more than our graphs do, with a weight of each kind. */
function graph(
  prefix: string,
  body?: MessageInitShape<typeof GraphProtoSchema>,
): MessageInitShape<typeof GraphProtoSchema> {
  const [x, w, s, y] = ["x", "w", "s", "y"].map((name) => prefix + name);
  const quantParameterTensorNames = [{ key: "SCALE_TENSOR", value: w ?? "" }];
  return {
    name: `${prefix}graph`,
    docString,
    metadataProps,
    quantizationAnnotation: [{ tensorName: x ?? "", quantParameterTensorNames }],
    input: [value(x ?? "", dense)],
    output: [value(y ?? "")],
    valueInfo: [value(`${prefix}z`, sparse)],
    initializer: [tensor(w ?? "")],
    sparseInitializer: [{ values: [tensor(s ?? "")], dims: [9n] }],
    node: [
      {
        name: `${prefix}node`,
        opType: "Custom",
        domain: "custom",
        input: [x ?? "", w ?? "", s ?? ""],
        output: [y ?? "", `${prefix}z`],
        docString,
        metadataProps,
        attribute: [
          { name: "t", type: Type.TENSOR, t: [tensor("named")], docString },
          ...(body === undefined ? [] : [{ name: "body", type: Type.GRAPH, g: body }]),
        ],
      },
    ],
  };
}

const file = toBinary(
  ModelProtoSchema,
  create(ModelProtoSchema, {
    irVersion: 10n,
    graph: graph("", graph("inner.", graph("innermost."))),
    opsetImport: [
      { domain: "", version: 20n },
      { domain: "ai.onnx", version: 20n },
      { domain: "custom", version: 1n },
    ],
    metadataProps: [...metadataProps, ...metadataProps],
  }),
);

/** Every object made anew, as a pass that changes all of them would. */
function anew(graph: Graph): Graph {
  const again = (attribute: Attribute): Attribute =>
    attribute.kind === "graph" ? { kind: "graph", value: anew(attribute.value) } : attribute;
  return {
    ...graph,
    inputs: graph.inputs.map((one) => ({ ...one })),
    outputs: graph.outputs.map((one) => ({ ...one })),
    values: new Map([...graph.values].map(([name, one]) => [name, { ...one }])),
    initializers: new Map(graph.initializers),
    nodes: graph.nodes.map((node) => ({
      ...node,
      attributes: new Map([...node.attributes].map(([name, one]) => [name, again(one)])),
    })),
  };
}

describe("what graphs do not model", () => {
  test("is written where nothing was changed", () => {
    expect(Buffer.from(encodeModel(readModel(file)))).toEqual(Buffer.from(file));
  });

  test("stays with nodes, values, attributes and bodies that a pass makes anew", () => {
    const model = readModel(file);
    const changed = encodeModel(withGraph(model, anew(model.graph)));
    expect(Buffer.from(changed)).toEqual(Buffer.from(file));
  });

  test("goes with what a pass removes or renames", () => {
    const model = readModel(file);
    const [x] = model.graph.inputs;
    const weight = model.graph.initializers.get("s");
    if (x === undefined || weight === undefined) throw new Error("the model has both");
    const renamed = withGraph(model, {
      ...model.graph,
      inputs: [{ ...x, dtype: "float64" }],
      initializers: new Map([["renamed", weight]]),
      nodes: [],
      outputs: [],
    });
    const again = readModel(encodeModel(renamed));
    expect([...again.graph.initializers.keys()]).toEqual(["renamed"]);
    expect(absentWeights(again)).toEqual([]);
    expect(again.graph.inputs[0]?.dtype).toBe("float64");
    expect(Buffer.from(encodeModel(renamed)).includes("IMAGE")).toBe(true);
    expect(Buffer.from(encodeModel(renamed)).includes("inner.s")).toBe(false);
  });
});
