import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { sound } from "../../../test/sound.ts";
import { SkipwayError } from "../../base/errors.ts";
import { Random } from "../../base/random.ts";
import type { Graph, ValueName } from "../../graph/graph.ts";
import { parseGraph } from "../../graph/parse.ts";
import { float32, float32Values, int64, numbersOf, type Tensor } from "../../graph/tensor.ts";
import { graph } from "../../graph/text.test-helper.ts";
import { modelOf } from "../../onnx/onnx-model.ts";
import { encodeModel } from "../../onnx/write.ts";
import { inProcessRunner } from "../../runtime/in-process.ts";
import { withFunctions } from "../functions.ts";
import { copiedWeights } from "./copies.ts";
import { differentiate } from "./differentiate.ts";
import { prepareForGradients } from "./prepare.ts";
import { fits, named, trainable } from "./trainable.ts";
import { type GradientOptions, type GraphWithGradients, withGradients } from "./with-gradients.ts";

const MSE = { loss: { kind: "mse" } } as const;

/** A network of one hidden layer with a skip, in an operator set of choice. */
const network = (opset: number): Graph =>
  parseGraph(
    `<opset_import: ["" : ${opset}]>
     g (float[2,3] x) => (float[2,3] y)
     <float[3,3] layer_a_weight = {1, 2, 3, -1, 0, 1, 0.5, 1, -2}, float[3] layer_a_bias = {0.1, 0.2, 0.3},
      float[3,3] layer_b_weight = {1, 0, 1, 0, 1, 0, -1, 1, 2}, int64[1] sizes = {3}>
     { h = MatMul (x, layer_a_weight)  i = Add (h, layer_a_bias)  r = Relu (i)
       p = MatMul (r, layer_b_weight)  y = Add (p, x) }`,
  );

function feedsOf(made: GraphWithGradients): Map<string, Tensor> {
  const random = new Random(2);
  return new Map(
    made.graph.inputs
      .filter(({ name }) => !made.graph.initializers.has(name))
      .map(({ name, dtype, shape = [] }) => {
        const sizes = shape.map((dim) => (typeof dim === "number" ? dim : 2));
        const count = sizes.reduce((a, b) => a * b, 1);
        if (dtype === "int64") return [name, int64(sizes, new Array<number>(count).fill(1))];
        return [
          name,
          float32(
            sizes,
            Float32Array.from({ length: count }, () => random.normal()),
          ),
        ];
      }),
  );
}

async function run(
  made: GraphWithGradients,
  more: ReadonlyMap<string, Tensor> = new Map(),
): Promise<ReadonlyMap<string, readonly number[]>> {
  const bytes = encodeModel(modelOf(sound(made.graph)));
  await using session = await inProcessRunner().load({ bytes });
  const found = await session.run(new Map([...feedsOf(made), ...more]));
  return new Map([...found].map(([name, value]) => [name, [...float32Values(value)]]));
}

function idsOf(work: () => unknown): readonly string[] {
  try {
    work();
  } catch (error) {
    if (error instanceof SkipwayError) return error.diagnostics.map(({ id }) => id);
  }
  return [];
}

describe("the model with gradients", () => {
  test("has its own inputs and outputs, a target, a loss and a gradient for each weight", async () => {
    const made = withGradients(network(21), MSE);
    expect(made.graph.inputs.map(({ name }) => name)).toEqual(["x", "target"]);
    expect(made.graph.outputs.map(({ name, shape }) => [name, shape])).toEqual([
      ["y", [2, 3]],
      ["loss", []],
      ["grad.layer_a_weight", [3, 3]],
      ["grad.layer_a_bias", [3]],
      ["grad.layer_b_weight", [3, 3]],
    ]);
    const found = await run(made);
    const y = found.get("y") ?? [];
    const target = numbersOf(feedsOf(made).get("target") ?? float32([], [0])) ?? [];
    const mean = y.reduce((sum, v, i) => sum + (v - (target[i] ?? 0)) ** 2, 0) / y.length;
    expect(found.get("loss")?.[0]).toBeCloseTo(mean, 5);
  });

  test("labels have the shape of the scores without their classes", () => {
    const text =
      "g (float[N,5,H] x) => (float[N,5,H] y) <float[5,1] w = {1,2,3,4,5}> { y = Mul (x, w) }";
    const along = (classAxis: number): unknown =>
      withGradients(parseGraph(text, { opsets: new Map([["", 21]]) }), {
        loss: { kind: "cross-entropy", classAxis },
      }).graph.inputs[1];
    expect(along(1)).toMatchObject({ name: "label", dtype: "int64", shape: ["N", "H"] });
  });

  test("whatever form the network has, its gradients are the same", async () => {
    const plain = await run(withGradients(network(21), MSE));
    const constants = parseGraph(
      `<opset_import: ["" : 21]>
       g (float[2,3] x) => (float[2,3] y)
       { layer_a_weight = Constant <value = float[3,3] {1, 2, 3, -1, 0, 1, 0.5, 1, -2}> ()
         layer_a_bias = Constant <value = float[3] {0.1, 0.2, 0.3}> ()
         layer_b_weight = Constant <value = float[3,3] {1, 0, 1, 0, 1, 0, -1, 1, 2}> ()
         h = MatMul (x, layer_a_weight)  i = Add (h, layer_a_bias)  r = Relu (i)
         p = MatMul (r, layer_b_weight)  y = Add (p, x) }`,
    );
    const paths = {
      ...network(21),
      nodes: network(21).nodes.map((node, i) => ({ ...node, name: `part.n${i}` })),
    };
    for (const form of [network(7), network(13), withFunctions(paths), constants]) {
      expect(await run(withGradients(form, MSE))).toEqual(plain);
    }
  });

  test("a weight under a second name, or turned, has its gradient where it is one", async () => {
    const tied = graph`
      g (float[2,3] x) => (float[2,3] y) <float[3,3] w = {1, 2, 3, -1, 0, 1, 0.5, 1, -2}>
      { v = Identity (w)  t = Transpose (w)  h = MatMul (x, v)  y = MatMul (h, t) }`;
    const apart = graph`
      g (float[2,3] x) => (float[2,3] y)
      <float[3,3] v = {1, 2, 3, -1, 0, 1, 0.5, 1, -2}, float[3,3] t = {1, -1, 0.5, 2, 0, 1, 3, 1, -2}>
      { h = MatMul (x, v)  y = MatMul (h, t) }`;
    const whole = (await run(withGradients(tied, MSE))).get("grad.w") ?? [];
    const parts = await run(withGradients(apart, MSE));
    const [v, t] = [parts.get("grad.v") ?? [], parts.get("grad.t") ?? []];
    for (const [at, one] of whole.entries()) {
      const turned = 3 * (at % 3) + Math.floor(at / 3);
      expect(one).toBeCloseTo((v[at] ?? Number.NaN) + (t[turned] ?? Number.NaN), 4);
    }
  });

  test("weights that a file has twice are told", () => {
    const twice = graph`
      g (float[2,3] x) => (float[2,3] y)
      <float[3,2] a = {1, 2, 3, 4, 5, 6}, float[2,3] t = {1, 3, 5, 2, 4, 6}, float[3,2] c = {1, 2, 3, 4, 5, 6},
       float[2,3] d = {1, 3, 5, 2, 4, 7}, float[3,2] z = {0, 0, 0, 0, 0, 0}, float[3,2] o = {0, 0, 0, 0, 0, 0}>
      { y = Relu (x) }`;
    expect(copiedWeights(twice, twice.initializers.keys())).toEqual([
      { weight: "t", of: "a", transposed: true },
      { weight: "c", of: "a", transposed: false },
    ]);
  });

  test("what nothing reads is gone, save the weights of the file", async () => {
    const made = withGradients(
      graph`g (float[2,3] x) => (float[2,3] y) <float[3] w = {1, 2, 3}, float[3] idle = {1, 2, 3}>
        { a = Constant <value_int = 1> ()  n = Relu (x)  c = Constant <value_int = 0> ()
          u = Gather (n, c)  y = Mul (x, w) }`,
      MSE,
    );
    const read = new Set(made.graph.nodes.flatMap((node) => node.inputs));
    for (const { name } of made.graph.outputs) read.add(name);
    expect(made.graph.nodes.filter((node) => !node.outputs.some((one) => read.has(one)))).toEqual(
      [],
    );
    const names = [...made.graph.initializers.keys()];
    expect(names.filter((name) => !read.has(name))).toEqual(["idle"]);
    expect((await run(made)).get("grad.w")).toHaveLength(3);
  });

  test("slices between transpositions, which the runtime moves past one another", async () => {
    const made = withGradients(
      graph`g (float[1,2,3,4] x) => (float[1,2,3,4] y) <float[4] w = {1, 2, 3, 4}, int64[1] zero = {0},
          int64[1] half = {2}, int64[1] end = {4}, int64[1] last = {3}>
        { h = Mul (x, w)  t = Transpose <perm = [0, 2, 1, 3]> (h)  a = Slice (t, zero, half, last)
          b = Slice (t, half, end, last)  n = Neg (b)  c = Concat <axis = -1> (n, a)
          m = Mul (c, t)  y = Transpose <perm = [0, 2, 1, 3]> (m) }`,
      MSE,
    );
    expect((await run(made)).get("grad.w")).toHaveLength(4);
  });

  test("inner values make room for the new names", async () => {
    const made = withGradients(
      graph`g (float[2,3] x) => (float[2,3] y) <float[3] w = {1, 2, 3}>
        { loss = Mul (x, w)  target = Relu (loss)  y = Add (target, x) }`,
      MSE,
    );
    expect((await run(made)).get("grad.w")).toHaveLength(3);
  });
});

test("a file that the runtime has optimised is loaded with its gradients", async () => {
  // A fused MatMul and Add, and names as MatMulAddFusion gives them; the LSTM, taken apart, has further ones to fuse.
  const made = withGradients(
    graph`g (float[2,3,4] x) => (float[2,3,4] y)
      <float[1,8,4] w = {${Array.from({ length: 32 }, (_, i) => Math.sin(i)).join()}},
       float[1,8,2] r = {${Array.from({ length: 16 }, (_, i) => Math.cos(i)).join()}}, float[1,16] b = {${"0.1,".repeat(15)}0.2},
       float[2,4] v = {1, 2, 3, 4, 5, 6, 7, 8}, float[4] c = {1, 2, 3, 4}, int64[1] one = {1},
       int64[2] gemm_input_shape = {6, 2}, int64[3] gemm_output_shape = {2, 3, 4}>
      { h = LSTM <hidden_size = 2> (x, w, r, b)  s = Squeeze (h, one)  i = Reshape (s, gemm_input_shape)
        o = Gemm (i, v, c)  y = Reshape (o, gemm_output_shape) }`,
    MSE,
  );
  expect([...(await run(made)).keys()]).toContain("grad.v");
});

describe("modes", () => {
  const normed = (trained: string): Graph => graph`
    g (float[4,2] x) => (float[4,2] y)
    <float[2] s = {1, 2}, float[2] b = {0, 1}, float[2] m = {0.5, -0.5}, float[2] v = {1, 4}, float w = {3}>
    { h = Mul (x, w)  ${trained} }`;
  const inference = normed("y = BatchNormalization (h, s, b, m, v)");
  const training = normed("y, m2, v2 = BatchNormalization <training_mode = 1> (h, s, b, m, v)");

  test("eval has running statistics, train those of the batch, however the file was exported", async () => {
    const outputs = async (form: Graph, mode: GradientOptions["mode"]): Promise<unknown> =>
      await run(withGradients(form, { ...MSE, ...(mode === undefined ? {} : { mode }) }));
    const evaluated = await outputs(inference, "eval");
    const trained = await outputs(inference, "train");
    expect(evaluated).not.toEqual(trained);
    expect(await outputs(training, "eval")).toEqual(evaluated);
    expect(await outputs(training, "train")).toEqual(trained);
  });

  test("running statistics are no weights", () => {
    const found = [...withGradients(inference, MSE).gradients.keys()];
    expect(found).toEqual(["s", "b", "w"]);
  });

  test("a model that gives its statistics hands them on where it does not train", async () => {
    const given = {
      ...training,
      outputs: [...training.outputs, { name: "m2", dtype: "float32" as const, shape: [2] }],
    };
    expect((await run(withGradients(given, MSE))).get("m2")).toEqual([0.5, -0.5]);
  });

  test("dropout is at work in training alone, and its step may be left out", async () => {
    const net = graph`g (float[4,32] x) => (float[4,32] y) <float[32] w = {${new Array(32).fill(1).join()}},
      float ratio = {0.5}> { h = Mul (x, w)  y = Dropout (h, ratio) }`;
    const evaluated = withGradients(net, MSE);
    expect(evaluated.step).toBeUndefined();
    const zeros = (list: readonly number[] = []): number => list.filter((v) => v === 0).length;
    expect(zeros((await run(evaluated)).get("y"))).toBe(0);
    const trained = withGradients(net, { ...MSE, mode: "train" });
    expect(trained.graph.inputs.map(({ name }) => name)).toEqual(["x", "step", "target"]);
    const dropped = zeros((await run(trained)).get("y"));
    expect(dropped).toBeGreaterThan(20);
    expect(dropped).toBeLessThan(108);
  });
});

describe("which weights", () => {
  const names = (wrt: readonly string[]): readonly ValueName[] =>
    named(network(21), wrt, trainable(network(21), "y"));

  test("by name and pattern, in the order of the graph", () => {
    expect(names(["layer_b_weight", "layer_a_bias"])).toEqual(["layer_a_bias", "layer_b_weight"]);
    expect(names(["*_weight"])).toEqual(["layer_a_weight", "layer_b_weight"]);
    expect(names(["layer_?_weight", "*"])).toHaveLength(3);
  });

  test("faults are told, all of them", () => {
    expect(idsOf(() => names(["layer_c_weight", "sizes", "x*"]))).toEqual([
      ...["gradient/unknown-name", "gradient/not-float", "gradient/unknown-name"],
    ]);
  });

  test("what the loss does not depend on is refused by name, and left out of all", () => {
    const net = graph`g (float[2] x) => (float[2] y, float[2] z)
      <float[2] w = {1, 2}, float[2] u = {1, 2}, float[2] k = {1, 2}>
      { y = Mul (x, w)  z = Mul (x, u)  f = Floor (k)  i = Cast <to = 7> (k) }`;
    expect([...withGradients(net, MSE).gradients.keys()]).toEqual(["w"]);
    expect(idsOf(() => withGradients(net, { ...MSE, wrt: ["u"] }))).toEqual(["gradient/no-path"]);
  });

  test("a pattern fits as a regular expression would, without its time", () => {
    const text = fc.stringMatching(/^[ab.]{0,8}$/);
    const pattern = fc.stringMatching(/^[ab.*?]{0,8}$/);
    fc.assert(
      fc.property(text, pattern, (name, one) => {
        const expression = one.replaceAll(".", "\\.").replaceAll("*", ".*").replaceAll("?", ".");
        expect(fits(name, one)).toBe(new RegExp(`^${expression}$`).test(name));
      }),
    );
    expect(fits("a".repeat(5000), `${"*a".repeat(200)}b`)).toBe(false);
  });

  test("trainable agrees with what differentiation finds", () => {
    const prepared = prepareForGradients(network(13));
    const sum = { ...prepared, nodes: [...prepared.nodes] };
    expect(trainable(sum, "y")).toEqual(["layer_a_weight", "layer_a_bias", "layer_b_weight"]);
    expect(() => differentiate(prepared, { loss: "y", wrt: [] })).toThrow(SkipwayError);
  });
});

/** Place and notes of each finding. */
function told(text: string): string[][] {
  try {
    withGradients(parseGraph(text, { opsets: new Map([["", 21]]) }), MSE);
  } catch (error) {
    if (error instanceof SkipwayError)
      return error.diagnostics.map(({ where, notes }) => [where, ...notes]);
  }
  return [];
}

describe("an op on the way that has no gradient", () => {
  const WEIGHTS = "<float[2,2] u = {1, 2, 3, 4}, float[2,2] v = {1, 2, 3, 4}>";

  test("is named with its readers, what passes it and what goes round it", () => {
    const text = `g (float[2,2] x) => (float[2,2] y) ${WEIGHTS}
      { a = MatMul (x, u)  d = Det (a)  b = MatMul (x, v)  p = Add (b, d)  y = Mul (p, d) }`;
    expect(told(text)).toEqual([
      [
        "node Det_1 (Det)",
        "its result is read by Add_3 (Add), Mul_4 (Mul)",
        'the gradients of "u" pass it',
        "one other asked for does not",
      ],
    ]);
  });

  test("read by a branch, and in a branch of a branch: where it stands is told", () => {
    const text = `g (float[2,2] x, bool c) => (float y) ${WEIGHTS}
      { a = MatMul (x, u)  d = Det (a)  b = MatMul (x, v)
        y = If (c) <then_branch = one () => (float r) { r = Neg (d) }, else_branch = two () => (float s) {
          s = If (c) <then_branch = three () => (float t) { t = Det (b) },
                      else_branch = four () => (float w) { w = ReduceSum <keepdims = 0> (b) }> }> }`;
    const [first = [], second = []] = told(text);
    expect(first.slice(0, 3)).toEqual([
      "node Det_1 (Det)",
      expect.stringMatching(/^its result is read by If_\d+ \(If\)$/),
      'the gradients of "u" pass it',
    ]);
    expect(second[0]).toMatch(/^node Det_\d+ \(Det\)$/);
    expect(second.slice(1, 4)).toEqual([
      "its result is what is given in the end",
      expect.stringMatching(/^it stands in then_branch of node If_\d+ \(If\)$/),
      'the gradients of "u", "v" pass it',
    ]);
  });

  test("in a function: under the name that it has where the function is called", () => {
    const text = `<ir_version: 10, opset_import: ["" : 21, "f" : 1]>
      g (float[2,2] x) => (float y) ${WEIGHTS} { a = f.block (x, u)  b = MatMul (x, v)  s = ReduceSum <keepdims = 0> (b)  y = Add (a, s) }
      <domain: "f", opset_import: ["" : 21]> block (p, q) => (r) { m = MatMul (p, q)  r = Det (m) }`;
    expect(told(text)).toEqual([
      [
        "node block_0/Det_1 (Det)",
        "its result is read by Add_3 (Add)",
        'the gradients of "u" pass it',
        "one other asked for does not",
      ],
    ]);
  });
});

describe("what cannot be", () => {
  test.each([
    [
      "no outputs",
      "g (float[2] x) => () <float[2] w = {1, 2}> { y = Mul (x, w) }",
      "gradient/no-output",
    ],
    ["no weights", "g (float[2] x) => (float[2] y) { y = Relu (x) }", "gradient/no-weights"],
    [
      "an output of integers",
      "g (float[2] x) => (int64[2] y) <float[2] w = {1, 2}> { m = Mul (x, w)  y = Cast <to = 7> (m) }",
      "loss/scores",
    ],
    [
      "a name that is taken",
      "g (float[2] target) => (float[2] y) <float[2] w = {1, 2}> { y = Mul (target, w) }",
      "gradient/name-taken",
    ],
    [
      "a way that ends at integers",
      "g (float[2] x) => (float[2] y) <float[2] w = {1, 2}> { m = Mul (x, w)  i = Cast <to = 7> (m)  y = Cast <to = 1> (i) }",
      "gradient/no-weights",
    ],
    [
      "an op that is not known, and ends in the output that the file declares",
      "g (float[N,2] x) => (float[N,2] y) <float[2] w = {1, 2}> { y = my.Op (x, w) }",
      "gradient/unsupported",
    ],
    [
      "a sequence",
      "g (float[2] x) => (seq(float[2]) y) <float[2] w = {1, 2}> { m = Mul (x, w)  y = SequenceConstruct (m) }",
      "loss/scores",
    ],
  ])("%s", (_name, text, id) => {
    const given = parseGraph(text, {
      opsets: new Map([
        ["", 21],
        ["my", 1],
      ]),
    });
    expect(idsOf(() => withGradients(given, MSE))).toEqual([id]);
  });

  test("is told with the node at which the way to the loss ends", () => {
    const given = graph`g (float[2] x) => (float[2] y) <float[2] w = {1, 2}, float[2] u = {1, 2}, float[2] v = {1, 2}>
      { m = Mul (x, w)  r = Round (m)  y = Add (r, v) }`;
    const notes = (wrt: string): readonly string[] => {
      try {
        withGradients(given, { ...MSE, wrt: [wrt] });
      } catch (error) {
        if (error instanceof SkipwayError) return error.diagnostics.flatMap((one) => one.notes);
      }
      return [];
    };
    expect(notes("w")).toEqual([expect.stringMatching(/ends at \S+ \(Round\)/)]);
    expect(notes("u")).toEqual([]);
  });
});
