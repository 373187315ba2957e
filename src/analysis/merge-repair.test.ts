// Thirty broken networks, each with the words that mend it.

import { expect, test } from "vitest";
import { inferShapes } from "../canonical/infer-shapes.ts";
import { parseGraph } from "../graph/parse.ts";
import { mergeDiagnostics } from "./merges.ts";

/** What is wrong, inputs and weights, the nodes, and the fix. */
type Row = readonly [string, string, string, string];

const half = "h = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (x, w)";
const same = "h = Conv <pads = [1, 1, 1, 1]> (x, w)";
const add = "r = Relu (h) y = Add (r, x)";

const ROWS: readonly Row[] = [
  [
    "no projection where width doubles",
    "N,64,56,56 x | 128,64,3,3 w",
    `${half} ${add}`,
    "Add a 1x1 projection 64→128 with stride 2 on the shortcut.",
  ],
  [
    "wider at the same size, shortcut second",
    "N,64,8,8 x | 128,64,3,3 w",
    `${same} ${add}`,
    "Add a 1x1 projection 64→128 on the shortcut.",
  ],
  [
    "the same with the shortcut first",
    "N,64,8,8 x | 128,64,3,3 w",
    `${same} y = Add (x, h)`,
    "Add a 1x1 projection 64→128 on the shortcut.",
  ],
  [
    "narrower",
    "N,64,8,8 x | 16,64,3,3 w",
    `${same} ${add}`,
    "Add a 1x1 projection 64→16 on the shortcut.",
  ],
  [
    "stride without more channels",
    "N,64,8,8 x | 64,64,3,3 w",
    `${half} ${add}`,
    "Add a 1x1 projection 64→64 with stride 2 on the shortcut.",
  ],
  [
    "ratio 4",
    "N,64,56,56 x | 256,64,4,4 w",
    `h = Conv <strides = [4, 4]> (x, w) ${add}`,
    "Add a 1x1 projection 64→256 with stride 4 on the shortcut.",
  ],
  [
    "an odd size halved upwards",
    "N,64,57,57 x | 128,64,3,3 w",
    `${half} ${add}`,
    "Add a 1x1 projection 64→128 with stride 2 on the shortcut.",
  ],
  [
    "an odd size halved downwards",
    "N,64,57,57 x | 128,64,2,2 w",
    `h = Conv <strides = [2, 2]> (x, w) ${add}`,
    "Add a 1x1 projection 64→128 with stride 2 on the shortcut and crop 1 on axes 2 and 3.",
  ],
  [
    "one axis strided",
    "N,64,8,16 x | 128,64,3,3 w",
    `h = Conv <strides = [1, 2], pads = [1, 1, 1, 1]> (x, w) ${add}`,
    "Add a 1x1 projection 64→128 with strides [1,2] on the shortcut.",
  ],
  [
    "video",
    "N,8,4,8,8 x | 16,8,1,1,1 w",
    `h = Conv <strides = [2, 2, 2]> (x, w) ${add}`,
    "Add a 1x1x1 projection 8→16 with stride 2 on the shortcut.",
  ],
  [
    "sound, channels first",
    "N,8,100 x | 16,8,1 w",
    `h = Conv (x, w) ${add}`,
    "Add a pointwise projection 8→16 on the shortcut.",
  ],
  [
    "sound, strided",
    "N,8,100 x | 8,8,1 w",
    `h = Conv <strides = [2]> (x, w) ${add}`,
    "Add a pointwise projection 8→8 with stride 2 on the shortcut.",
  ],
  [
    "valid convolutions",
    "N,64,16,16 x | 64,64,3,3 w",
    "h = Conv (x, w) y = Add (h, x)",
    'Crop 2 on axes 2 and 3 from "x", or pad the convolutions of the other.',
  ],
  [
    "valid convolutions in a U-Net",
    "N,64,64,64 x | 64,64,3,3 w",
    "h = Conv (x, w) r = Conv (h, w) y = Concat <axis = 1> (x, r)",
    'Crop 4 on axes 2 and 3 from "x", or pad the convolutions of the other.',
  ],
  [
    "valid convolutions that widen",
    "N,64,16,16 x | 128,64,3,3 w",
    "h = Conv (x, w) y = Add (h, x)",
    "Add a 1x1 projection 64→128 on the shortcut and crop 2 on axes 2 and 3.",
  ],
  [
    "an odd size, one axis",
    "N,2,18,16 x | 2,2,2,2 w",
    "a = Conv <strides = [2, 2]> (x, w) b = Conv <strides = [2, 2]> (a, w) u = ConvTranspose <strides = [2, 2]> (b, w) y = Concat <axis = 1> (a, u)",
    "Odd input: pad or crop 1 on axis 2, or use multiples of 4.",
  ],
  [
    "an odd size, both axes",
    "N,2,9,9 x | 2,2,2,2 w",
    "a = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x) u = ConvTranspose <strides = [2, 2]> (a, w) y = Add (u, x)",
    "Odd input: pad or crop 1 on axes 2 and 3, or use multiples of 2.",
  ],
  [
    "a decoder without its upsampling",
    "N,2,16,16 x | 4,2,2,2 w",
    "a = Conv <strides = [2, 2]> (x, w) y = Concat <axis = 1> (a, x)",
    "Pool the larger operand with stride 2 before it is joined.",
  ],
  [
    "sizes without a ratio",
    "N,64,8,8 x | N,64,5,3 z",
    "y = Add (x, z)",
    "Resize one operand to the size of the other before they are joined.",
  ],
  [
    "features",
    "N,64 x | 64,128 w",
    "h = MatMul (x, w) r = Relu (h) y = Add (r, x)",
    "Add a dense layer (MatMul) 64→128 on the shortcut.",
  ],
  [
    "tokens",
    "N,16,64 x | 64,128 w",
    "h = MatMul (x, w) y = Add (x, h)",
    "Add a dense layer (MatMul) 64→128 on the shortcut.",
  ],
  [
    "pictures with channels last",
    "N,8,8,64 x | 64,128 w",
    "h = MatMul (x, w) y = Add (x, h)",
    "Add a dense layer (MatMul) 64→128 on the shortcut.",
  ],
  [
    "a class token on one side",
    "N,17,64 x | N,16,64 z | 64,64 w",
    "h = MatMul (z, w) y = Add (x, h)",
    "Bring both to one length on axis 1: they have 17 and 16.",
  ],
  [
    "channels last against channels first",
    "N,8,8,64 z | N,64,8,8 x | 64,64,3,3 w",
    `${same} y = Add (h, z)`,
    'Transpose "z" with perm [0,3,1,2]: its channels are on another axis than the other\'s.',
  ],
  [
    "channels first against channels last",
    "N,64,8,8 z | N,8,8,64 x | 64,64 w",
    "h = MatMul (x, w) y = Add (h, z)",
    'Transpose "z" with perm [0,2,3,1]: its channels are on another axis than the other\'s.',
  ],
  [
    "the wrong axis of a Concat",
    "N,64,8,8 x | N,32,8,8 z",
    "y = Concat <axis = 2> (x, z)",
    "Join them along axis 1, where alone they differ.",
  ],
  [
    "features on pictures",
    "N,64 z | N,64,7,7 x | 64,64,1,1 w",
    "h = Conv (x, w) y = Mul (h, z)",
    'Unsqueeze "z" at axes 2 and 3, so that its axes lie over those of the other.',
  ],
  [
    "features beside unflattened pictures",
    "N,32 z | N,64,7,7 x",
    "h = Relu (x) y = Concat <axis = 1> (h, z)",
    'Flatten "h" to [N,3136].',
  ],
  [
    "pictures on tokens",
    "N,49,64 z | N,64,7,7 x",
    "h = Relu (z) y = Add (h, x)",
    'Make "x" a sequence of tokens [N,49,64]: a Reshape and a Transpose.',
  ],
  [
    "ranks that have nothing in common",
    "N,5 z | N,64,7,7 x",
    "y = Add (z, x)",
    "Reshape one of them: they have 2 and 4 axes.",
  ],
  [
    "two batches",
    "4,64,8,8 z | 8,64,8,8 x",
    "y = Add (z, x)",
    "Give both the same batch: their first axes differ.",
  ],
];

test("there are thirty", () => {
  expect(new Set(ROWS.map(([what]) => what)).size).toBeGreaterThanOrEqual(30);
});

test.each(ROWS)("%s", (_, values, nodes, fix) => {
  const inputs = values.split(" | ").map((one) => one.replace(/^(\S+) (\w+)$/, "float[$1] $2"));
  const graph = parseGraph(`<ir_version: 10, opset_import: ["" : 20]>
    net (${inputs.join(", ")}) => (float y) { ${nodes} }`);
  expect(mergeDiagnostics(inferShapes(graph)).map((one) => one.fix)).toEqual([fix]);
});
