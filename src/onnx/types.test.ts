import { create, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { limits } from "../base/limits.ts";
import { inferShapes } from "../canonical/infer-shapes.ts";
import { GraphBuilder } from "../graph/build.ts";
import type { Graph, ValueType } from "../graph/graph.ts";
import { valueTypes, withoutLengths } from "../graph/value-type.test-helper.ts";
import { bindType, sequenceOf, typeOnly } from "../graph/value-type.ts";
import { modelOf, withGraph } from "./onnx-model.ts";
import { AttributeProtoSchema, type TypeProto, TypeProtoSchema } from "./proto/onnx_pb.js";
import { readModel } from "./read.ts";
import { typeFrom, typeOfAttribute, typeTo } from "./types.ts";
import { encodeModel } from "./write.ts";

function graphOf(type: ValueType): Graph {
  const b = new GraphBuilder();
  b.output({ name: "x", ...type });
  const graph = b.finish("g", new Map([["", 20]]));
  return { ...graph, inputs: [{ name: "x", ...type }] };
}

describe("types of values in files", () => {
  test("are read as they were written", () => {
    fc.assert(
      fc.property(valueTypes, (type) => {
        const { graph } = readModel(encodeModel(modelOf(graphOf(type))), { path: "g" });
        expect(graph.inputs).toEqual([{ name: "x", ...withoutLengths(type) }]);
      }),
    );
  });

  test("a changed graph keeps a sequence a sequence", () => {
    const type = sequenceOf({ dtype: "float16", shape: ["N", 3] });
    const model = readModel(encodeModel(modelOf(graphOf(type))), { path: "g" });
    const bound = inferShapes(model.graph, new Map([["N", 4]]));
    const again = readModel(encodeModel(withGraph(model, bound)), { path: "g" });
    const four = bindType(type, new Map([["N", 4]]));
    for (const value of [...again.graph.inputs, ...again.graph.outputs]) {
      expect(typeOnly(value)).toEqual(four);
    }
  });

  test("deeper than any real type are not followed to their end", () => {
    let proto: TypeProto = create(TypeProtoSchema);
    for (let i = 0; i < 40; i++) {
      proto = create(TypeProtoSchema, {
        value: { case: "sequenceType", value: { elemType: proto } },
      });
    }
    let depth = 0;
    let type: ValueType | undefined = typeFrom(proto);
    while (type?.container !== undefined) {
      type = type.container.of;
      depth++;
    }
    expect(depth).toBe(limits.subgraphDepthMax + 1);
  });

  test("in an attribute", () => {
    const type = sequenceOf({ dtype: "int32", shape: [2, "?"] });
    const tp = create(TypeProtoSchema, typeTo(type));
    const bytes = toBinary(
      AttributeProtoSchema,
      create(AttributeProtoSchema, { name: "type", tp }),
    );
    expect(typeOfAttribute(bytes)).toEqual(type);
    expect(typeOfAttribute(new Uint8Array())).toBeUndefined();
  });
});
