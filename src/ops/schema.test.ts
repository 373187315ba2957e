import { describe, expect, test } from "vitest";
import { schemaDigest } from "../../scripts/schema-digest.ts";
import { isDType } from "../graph/dtype.ts";
import type { Attribute } from "../graph/graph.ts";
import { OP_SCHEMAS, SCHEMA_DIGEST, SCHEMA_VERSION, TYPE_SETS } from "./schema.gen.ts";
import { attributeDefault, type OpSchema, schemaOf, schemasOf, standardOps } from "./schema.ts";

function all(): readonly OpSchema[] {
  return standardOps().flatMap((key) => {
    const at = key.lastIndexOf("/");
    return schemasOf(key.slice(0, at), key.slice(at + 1));
  });
}

describe("the generated table", () => {
  test("is as its generator wrote it", () => {
    const texts = [SCHEMA_VERSION, ...TYPE_SETS.flat(), ...OP_SCHEMAS.flat()];
    expect(schemaDigest(texts)).toBe(SCHEMA_DIGEST);
  });

  test("has every version of every op, all of which can be read", () => {
    const schemas = all();
    const count = (domain: string): number => schemas.filter((s) => s.domain === domain).length;
    // Counted by `len(onnx.defs.get_all_schemas_with_history())` of onnx 1.23.2, by domain.
    expect(SCHEMA_VERSION).toBe("1.23.2");
    expect(["", "ai.onnx.ml", "ai.onnx.preview.training", "ai.onnx.preview"].map(count)).toEqual([
      629, 25, 4, 1,
    ]);
    expect(schemas).toHaveLength(659);
  });

  test("makes sense: versions rise, only the last argument repeats, types are known", () => {
    const type = /^(?:seq|optional|map)\(|^\w+$/;
    for (const key of standardOps()) {
      const at = key.lastIndexOf("/");
      const since = schemasOf(key.slice(0, at), key.slice(at + 1)).map((one) => one.since);
      expect(since, key).toEqual([...new Set(since)].sort((a, b) => a - b));
      expect(since.every((one) => Number.isInteger(one) && one >= 1)).toBe(true);
    }
    for (const schema of all()) {
      for (const list of [schema.inputs, schema.outputs]) {
        const repeated = list.findIndex((one) => one.option === "variadic");
        if (repeated >= 0) expect(repeated, schema.type).toBe(list.length - 1);
        for (const { allowed } of list) {
          expect(allowed.size).toBeGreaterThan(0);
          for (const name of allowed) {
            expect(name).toMatch(type);
            for (const word of name.match(/\w+(?![\w(])/g) ?? []) expect(isDType(word)).toBe(true);
          }
        }
      }
      for (const { kind, fallback, required } of schema.attributes.values()) {
        if (fallback !== undefined) expect([fallback.kind, required]).toEqual([kind, false]);
      }
    }
  });
});

/** `name`, `name?` or `name*` of each argument. */
function outline(domain: string, op: string, opset: number): string | undefined {
  const schema = schemaOf(domain, op, opset);
  const mark = { single: "", optional: "?", variadic: "*" };
  const list = (args: OpSchema["inputs"]): string =>
    args.map((one) => `${one.name}${mark[one.option]}`).join(" ");
  return schema && `${schema.since}: ${list(schema.inputs)} -> ${list(schema.outputs)}`;
}

function contentOf(attribute: Attribute | undefined): unknown {
  return attribute !== undefined && "value" in attribute ? attribute.value : undefined;
}

// Read off the pages of the operators at onnx.ai.
describe("facts of the standard", () => {
  const outlines: readonly (readonly [string, number, string | undefined])[] = [
    ["Add", 6, "6: A B -> C"],
    ["Add", 13, "13: A B -> C"],
    ["Clip", 6, "6: input -> output"],
    ["Clip", 11, "11: input min? max? -> output"],
    ["Squeeze", 12, "11: data -> squeezed"],
    ["Squeeze", 13, "13: data axes? -> squeezed"],
    ["Dropout", 12, "12: data ratio? training_mode? -> output mask?"],
    ["Concat", 13, "13: inputs* -> concat_result"],
    ["Resize", 10, "10: X scales -> Y"],
    ["Resize", 13, "13: X roi? scales? sizes? -> Y"],
    ["Pad", 10, "2: data -> output"],
    ["Pad", 18, "18: data pads constant_value? axes? -> output"],
    ["Conv", 22, "22: X W B? -> Y"],
    ["Loop", 13, "13: M? cond? v_initial* -> v_final_and_scan_outputs*"],
    ["LayerNormalization", 16, undefined],
    ["LayerNormalization", 17, "17: X Scale B? -> Y Mean? InvStdDev?"],
    ["Gelu", 19, undefined],
    ["Gelu", 21, "20: X -> Y"],
    [
      "BatchNormalization",
      15,
      "15: X scale B input_mean input_var -> Y running_mean? running_var?",
    ],
    ["Reshape", 1, "1: data -> reshaped"],
    ["Reshape", 5, "5: data shape -> reshaped"],
    ["constructor", 20, undefined],
  ];
  test.each(outlines)("%s in operator set %i", (op, opset, expected) => {
    expect(outline("", op, opset)).toBe(expected);
  });

  const defaults: readonly (readonly [string, number, string, unknown])[] = [
    ["Gemm", 13, "alpha", 1],
    ["Gemm", 13, "transB", 0],
    ["LeakyRelu", 16, "alpha", Math.fround(0.01)],
    ["Selu", 6, "gamma", Math.fround(1.050701)],
    ["Softmax", 12, "axis", 1],
    ["Softmax", 13, "axis", -1],
    ["Softmax", 14, "axis", -1],
    ["BatchNormalization", 15, "epsilon", Math.fround(1e-5)],
    ["BatchNormalization", 15, "momentum", Math.fround(0.9)],
    ["LRN", 13, "beta", 0.75],
    ["Resize", 19, "mode", "nearest"],
    ["Resize", 19, "coordinate_transformation_mode", "half_pixel"],
    ["Conv", 11, "auto_pad", "NOTSET"],
    ["Conv", 11, "strides", undefined],
    ["Concat", 1, "axis", undefined],
    ["ReduceSum", 13, "keepdims", 1],
    ["ReduceSum", 13, "noop_with_empty_axes", 0],
    ["RNN", 14, "activations", ["Tanh", "Tanh"]],
    ["Flatten", 13, "axis", 1],
    ["Gather", 13, "axis", 0],
  ];
  test.each(defaults)("%s in operator set %i leaves %s", (op, opset, name, expected) => {
    expect(contentOf(attributeDefault("", op, opset, name))).toEqual(expected);
  });

  test("required attributes, deprecated ops, types", () => {
    const required = (op: string, opset: number): string[] =>
      [...(schemaOf("", op, opset)?.attributes.values() ?? [])]
        .filter((one) => one.required)
        .map((one) => one.name);
    expect([required("Concat", 3), required("Concat", 4)]).toEqual([[], ["axis"]]);
    expect([required("Cast", 13), required("Transpose", 13)]).toEqual([["to"], []]);
    expect(schemaOf("", "Upsample", 9)?.deprecated).toBe(false);
    expect(schemaOf("", "Upsample", 10)?.deprecated).toBe(true);
    expect(schemaOf("", "Scatter", 11)?.deprecated).toBe(true);
    const types = (op: string, opset: number, i: number): ReadonlySet<string> | undefined =>
      schemaOf("", op, opset)?.inputs[i]?.allowed;
    expect(types("Relu", 13, 0)).toEqual(new Set(["bfloat16", "float16", "float32", "float64"]));
    expect(types("Relu", 14, 0)?.has("int32")).toBe(true);
    expect(types("Gather", 13, 1)).toEqual(new Set(["int32", "int64"]));
    expect(types("Reshape", 13, 1)).toEqual(new Set(["int64"]));
    expect(types("SequenceAt", 11, 0)?.has("seq(float32)")).toBe(true);
    expect(schemaOf("", "Concat", 13)?.inputs[0]).toMatchObject({
      option: "variadic",
      homogeneous: true,
      minimum: 1,
      variable: "T",
    });
  });
});
