import { describe, expect, test } from "vitest";
import { Random } from "../base/random.ts";
import { type DType, isDType } from "../graph/dtype.ts";
import {
  type Attribute,
  float,
  int,
  ints,
  type Node,
  string,
  type ValueType,
} from "../graph/graph.ts";
import { int64, type TensorRef } from "../graph/tensor.ts";
import { fewest } from "./check-node.ts";
import { OPS } from "./index.ts";
import type { OpDef, ShapeContext } from "./op.ts";
import { type OpSchema, type SchemaArgument, schemasOf } from "./schema.ts";

/** What ONNX Runtime registers in the standard's domain beside the standard's own (contrib_defs.cc). */
const OWN = ["SimplifiedLayerNormalization"];

/** Domains outside the standard whose ops the table has. */
const OTHER_DOMAINS = ["com.microsoft", "com.microsoft.nchwc", "skipway", "skipway.blocked"];

/** Rules are written for these and later ones. */
const OPSET_MIN = 7;

/** Versions in force in an operator set that rules are written for. */
function versionsOf(op: OpDef): readonly OpSchema[] {
  const versions = schemasOf(op.domain, op.type).filter((one) => !one.deprecated);
  const oldest = op.domain === "" ? OPSET_MIN : 1;
  const first = versions.findLastIndex((one) => one.since <= oldest);
  return versions.slice(Math.max(first, 0));
}

const STANDARD = [...OPS.values()].filter((op) => schemasOf(op.domain, op.type).length > 0);

/** Words that attributes of the standard are made of. */
const WORDS = [
  ...["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID", "forward", "reverse", "bidirectional"],
  ...[
    "nearest",
    "linear",
    "cubic",
    "constant",
    "reflect",
    "none",
    "mean",
    "sum",
    "add",
    "half_pixel",
  ],
  ...["tf_crop_and_resize", "stretch", "not_larger", "DCR", "CRD", "avg", "max"],
];

function attributeOf(kind: string, random: Random): Attribute | undefined {
  const some = (count: number): number[] => Array.from({ length: count }, () => random.integer(4));
  switch (kind) {
    case "int":
      return int(random.integer(5) - 1);
    case "ints":
      return ints(some(1 + random.integer(4)));
    case "float":
      return float(random.uniform());
    case "string":
      return string(WORDS[random.integer(WORDS.length)] ?? "");
    default:
      return undefined;
  }
}

/** What a rule may look at: shapes that often fit each other, constants of small numbers. */
interface Sample {
  readonly inputs: readonly (ValueType | undefined)[];
  readonly constants: readonly (TensorRef | undefined)[];
  readonly attributes: ReadonlyMap<string, Attribute>;
  readonly outputs: number;
}

function dtypeOf({ allowed }: SchemaArgument): DType | undefined {
  const first = (["float32", "int64"] as const).find((dtype) => allowed.has(dtype));
  return first ?? [...allowed].find(isDType);
}

function sampleOf(schema: OpSchema, random: Random): Sample {
  const least = fewest(schema.inputs);
  const count = least + random.integer(schema.inputs.length - least + 1);
  const rank = 1 + random.integer(5);
  const constants: (TensorRef | undefined)[] = [];
  const inputs = Array.from({ length: count }, (_, i): ValueType | undefined => {
    const argument = schema.inputs[i];
    const dtype = argument && dtypeOf(argument);
    if (dtype === "int64" && random.integer(4) > 0) {
      const values = Array.from({ length: 1 + random.integer(4) }, () => random.integer(4));
      const scalar = random.integer(3) === 0;
      constants[i] = scalar ? int64([], values.slice(0, 1)) : int64([values.length], values);
      return constants[i];
    }
    const shape = Array.from({ length: rank }, () => (random.integer(4) === 0 ? 8 : 4));
    return dtype && { dtype, shape };
  });
  const attributes = new Map<string, Attribute>();
  for (const { name, kind, required } of schema.attributes.values()) {
    const value = required || random.integer(3) === 0 ? attributeOf(kind, random) : undefined;
    if (value !== undefined) attributes.set(name, value);
  }
  return { inputs, constants, attributes, outputs: Math.max(schema.outputs.length, 1) };
}

/** What the rule says, as a text. */
function answer(op: OpDef, schema: OpSchema, sample: Sample): readonly (string | undefined)[] {
  const { inputs, constants, attributes, outputs } = sample;
  const node: Node = {
    name: "n",
    op: op.type,
    domain: op.domain,
    inputs: inputs.map((_, i) => `x${i}`),
    outputs: Array.from({ length: outputs }, (_, i) => `y${i}`),
    attributes,
  };
  const context: ShapeContext = {
    node,
    opset: op.domain === "" ? Math.max(schema.since, OPSET_MIN) : 20,
    input: (i) => inputs[i],
    constant: (i) => constants[i],
    entries: (i) => {
      const ref = constants[i];
      return ref?.data.kind === "bytes"
        ? Array.from(new BigInt64Array(ref.data.bytes.slice().buffer), Number)
        : undefined;
    },
  };
  return op.shape(context).map((type) => type && `${type.dtype} ${type.shape?.join()}`);
}

const SAMPLES = 60;

describe("the table against the standard", () => {
  test("every op is of the standard, or of a domain that is known", () => {
    const others = [...OPS.values()].filter(
      (op) => !STANDARD.includes(op) && !OWN.includes(op.type),
    );
    expect(others.map((op) => op.domain).filter((one) => !OTHER_DOMAINS.includes(one))).toEqual([]);
    expect(STANDARD.length).toBeGreaterThan(150);
  });

  test("no rule gives more outputs than the version has", () => {
    const wrong: string[] = [];
    for (const op of STANDARD) {
      for (const schema of versionsOf(op)) {
        const most =
          schema.outputs.at(-1)?.option === "variadic" ? Infinity : schema.outputs.length;
        const random = new Random(schema.since);
        for (let i = 0; i < SAMPLES; i++) {
          const given = answer(op, schema, sampleOf(schema, random));
          const last = given.findLastIndex((type) => type !== undefined) + 1;
          if (last > most) wrong.push(`${op.type}-${schema.since}: ${last} of ${most}`);
        }
      }
    }
    expect([...new Set(wrong)]).toEqual([]);
  });

  test("an attribute left out is what the standard says that it is then", () => {
    const wrong = new Set<string>();
    /** Attributes that change what a rule answers: on the others the comparison says nothing. */
    const matters = new Set<string>();
    for (const op of STANDARD) {
      for (const schema of versionsOf(op)) {
        const random = new Random(schema.since);
        for (const { name, kind, fallback } of schema.attributes.values()) {
          if (fallback === undefined) continue;
          for (let i = 0; i < SAMPLES; i++) {
            const sample = sampleOf(schema, random);
            const attributes = new Map(sample.attributes);
            attributes.delete(name);
            const without = answer(op, schema, { ...sample, attributes }).join(" | ");
            const withValue = (value: Attribute): string =>
              answer(op, schema, {
                ...sample,
                attributes: new Map([...attributes, [name, value] as const]),
              }).join(" | ");
            if (withValue(fallback) !== without) wrong.add(`${op.type}-${schema.since} ${name}`);
            const other = attributeOf(kind, random);
            if (other !== undefined && withValue(other) !== without)
              matters.add(`${op.type} ${name}`);
          }
        }
      }
    }
    expect([...wrong]).toEqual([]);
    expect([...matters]).toEqual(
      expect.arrayContaining([
        ...[
          "Gemm transA",
          "TopK axis",
          "Flatten axis",
          "Split axis",
          "LSTM direction",
          "Shape start",
        ],
        ...["ConvTranspose group", "MaxPool ceil_mode", "ReduceMax keepdims", "Reshape allowzero"],
        ...["Resize keep_aspect_ratio_policy", "OneHot axis", "RoiAlign output_height"],
      ]),
    );
    expect(matters.size).toBeGreaterThan(55);
  });
});
