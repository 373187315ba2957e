// Classical learners and what prepares features for them (domain ai.onnx.ml). A batch is rows; where an op
// takes a single row as a list too, the number of rows of a list is not said.

import type { DType } from "../graph/dtype.ts";
import { intAttribute, intsAttribute, type Node, stringAttribute } from "../graph/graph.ts";
import { type Dim, elementCount, type Shape, UNKNOWN_DIM } from "../graph/shape.ts";
import { containerType, sequenceOf } from "../graph/value-type.ts";
import type { OpDef, ShapeContext, ShapeRule } from "./op.ts";
import { defineOp, perInput, typed } from "./rules.ts";

const DOMAIN = "ai.onnx.ml";

type Parts = Partial<Pick<OpDef, "gradient" | "containers">>;

/** Gradients stop here: of trees and tables there is none, for the rest there is no rule. */
function op(
  type: string,
  shape: ShapeRule,
  parts: Parts = {
    gradient: {
      because:
        "what trees, tables and kernels of classical models compute is not trained by gradients",
    },
  },
): OpDef {
  return defineOp(type, {
    domain: DOMAIN,
    shape,
    cost: parts.containers === true ? () => undefined : perInput(2),
    gradient: "zero",
    ...parts,
  });
}

const CONSTANT: Parts = { gradient: "zero" };

/** Number of entries of a list attribute, 0 where it is left out. */
function count(node: Node, name: string): number {
  const attribute = node.attributes.get(name);
  const listed = attribute !== undefined && "value" in attribute && Array.isArray(attribute.value);
  return listed ? attribute.value.length : 0;
}

function rows(c: ShapeContext): Dim {
  const x = c.input(0)?.shape;
  return (x?.length === 2 ? x[0] : undefined) ?? UNKNOWN_DIM;
}

/** As the input, in float32. */
const floats: ShapeRule = (c) => [typed("float32", c.input(0)?.shape)];

/** The input's last axis, chosen from by a list of indices; a list of features counts as one row. */
const arrayFeatureExtractor = op("ArrayFeatureExtractor", (c) => {
  const [x, indices] = [c.input(0)?.shape, c.input(1)?.shape];
  if (x === undefined || x.length === 0) return [typed(c.input(0)?.dtype, undefined)];
  const inner = indices?.slice(0, -1).every((dim) => dim === 1) ?? false;
  const chosen = (inner ? indices?.at(-1) : elementCount(indices)) ?? UNKNOWN_DIM;
  const front = x.length === 1 ? [1] : x.slice(0, -1);
  return [typed(c.input(0)?.dtype, [...front, chosen])];
});

const CAST_TO: Readonly<Record<string, DType>> = {
  TO_FLOAT: "float32",
  TO_INT64: "int64",
  TO_STRING: "string",
};

/** How the entries of a map lie in a tensor, runtime and standard do not say alike. */
const castMap = op(
  "CastMap",
  (c) => {
    const to = stringAttribute(c.node, "cast_to", "TO_FLOAT");
    return [typed(Object.hasOwn(CAST_TO, to) ? CAST_TO[to] : undefined, undefined)];
  },
  { containers: true },
);

const dictVectorizer = op(
  "DictVectorizer",
  (c) => {
    const container = c.input(0)?.container;
    return [typed(container?.kind === "map" ? container.of.dtype : undefined, undefined)];
  },
  { containers: true },
);

/** Names to numbers, or numbers to names. */
const categoryMapper = op(
  "CategoryMapper",
  (c) => {
    const x = c.input(0);
    return [x && typed(x.dtype === "string" ? "int64" : "string", x.shape)];
  },
  CONSTANT,
);

/** Which attribute holds the values says their type; `classes_strings` is of version 1, both ways. */
const labelEncoder = op(
  "LabelEncoder",
  (c) => {
    const x = c.input(0);
    const table = c.node.attributes.get("values_tensor");
    if (table?.kind === "tensor") return [typed(table.value.dtype, x?.shape)];
    if (c.node.attributes.has("classes_strings")) {
      return [x && typed(x.dtype === "string" ? "int64" : "string", x.shape)];
    }
    const kinds: readonly (readonly [string, DType])[] = [
      ["values_strings", "string"],
      ["values_int64s", "int64"],
      ["values_floats", "float32"],
    ];
    const found = kinds.find(([name]) => c.node.attributes.has(name));
    return [typed(found?.[1], x?.shape)];
  },
  CONSTANT,
);

/** A column for each category, in a new last axis. */
const oneHotEncoder = op(
  "OneHotEncoder",
  (c) => {
    const x = c.input(0)?.shape;
    const categories = count(c.node, "cats_int64s") || count(c.node, "cats_strings");
    return [typed("float32", x && [...x, categories === 0 ? UNKNOWN_DIM : categories])];
  },
  CONSTANT,
);

/** The columns of all inputs side by side. */
const featureVectorizer = op("FeatureVectorizer", (c) => {
  const widths = intsAttribute(c.node, "inputdimensions") ?? [];
  const tables = c.node.inputs.every((_, i) => c.input(i)?.shape?.length === 2);
  const total = widths.reduce((a, b) => a + b, 0);
  const fits = widths.length === c.node.inputs.length;
  return [typed("float32", tables ? [rows(c), fits ? total : UNKNOWN_DIM] : undefined)];
});

/** Label and scores of each row. How many scores an SVM gives depends on its probabilities. */
const classifier =
  (names: readonly [strings: string, integers: string], scored: boolean): ShapeRule =>
  (c) => {
    const strings = count(c.node, names[0]);
    const classes = strings || count(c.node, names[1]);
    const label = strings > 0 ? "string" : "int64";
    const scores = scored && classes > 0 ? classes : UNKNOWN_DIM;
    return [typed(label, [rows(c)]), typed("float32", [rows(c), scores])];
  };

const regressor =
  (targets: (node: Node) => Dim, dtype?: DType): ShapeRule =>
  (c) => {
    const shape: Shape | undefined = c.input(0)?.shape && [rows(c), targets(c.node)];
    return [typed(dtype ?? c.input(0)?.dtype, shape)];
  };

const targetsOf =
  (name: string, fallback?: number) =>
  (node: Node): Dim =>
    intAttribute(node, name) ?? fallback ?? UNKNOWN_DIM;

/** Each row of scores as a map from the class's name. */
const zipMap = op(
  "ZipMap",
  (c) => {
    const key = count(c.node, "classlabels_strings") > 0 ? "string" : "int64";
    const map = containerType({ kind: "map", key, of: { dtype: "float32", shape: [] } });
    const batch = rows(c);
    return [sequenceOf(map, typeof batch === "number" ? batch : undefined)];
  },
  {
    gradient: {
      because:
        "what trees, tables and kernels of classical models compute is not trained by gradients",
    },
  },
);

/** All ops of this family. */
export const learned: readonly OpDef[] = [
  arrayFeatureExtractor,
  op("Binarizer", (c) => [c.input(0)], CONSTANT),
  castMap,
  categoryMapper,
  dictVectorizer,
  featureVectorizer,
  op("Imputer", (c) => [c.input(0)]),
  labelEncoder,
  op("LinearClassifier", classifier(["classlabels_strings", "classlabels_ints"], true)),
  op("LinearRegressor", regressor(targetsOf("targets", 1), "float32")),
  op("Normalizer", floats),
  oneHotEncoder,
  op("SVMClassifier", classifier(["classlabels_strings", "classlabels_ints"], false)),
  op(
    "SVMRegressor",
    regressor(() => 1, "float32"),
  ),
  op("Scaler", floats),
  op("TreeEnsemble", regressor(targetsOf("n_targets")), CONSTANT),
  op(
    "TreeEnsembleClassifier",
    classifier(["classlabels_strings", "classlabels_int64s"], true),
    CONSTANT,
  ),
  op("TreeEnsembleRegressor", regressor(targetsOf("n_targets"), "float32"), CONSTANT),
  zipMap,
];
