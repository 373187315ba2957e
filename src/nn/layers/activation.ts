// Functions of each element. All keep the shape.

import { float, int, string } from "../../graph/graph.ts";
import { formatShape, normalizeAxis } from "../../graph/shape.ts";
import { scalar } from "../../graph/tensor.ts";
import { type Layer, layer } from "../layer.ts";
import { overChannels } from "./shared.ts";

/** max(x, 0) (Nair and Hinton 2010). */
export function relu(): Layer {
  return layer("relu", (net, x) => net.emit("Relu", [x]));
}

/** min(max(x, 0), 6) (Howard et al. 2017, MobileNets). */
export function relu6(): Layer {
  return layer("relu6", (net, x) =>
    net.emit("Clip", [x, net.constant(scalar(0), "zero"), net.constant(scalar(6), "six")]),
  );
}

/**
 * x · Φ(x), with Φ the distribution of a standard normal (Hendrycks and Gimpel 2016). `tanh` is their
 * approximation x/2 · (1 + tanh(√(2/π)·(x + 0.044715·x³))).
 *
 * @example
 * nn.gelu({ approximate: "tanh" })
 */
export function gelu(options: { readonly approximate?: "none" | "tanh" } = {}): Layer {
  const { approximate = "none" } = options;
  return layer("gelu", (net, x) =>
    net.emit("Gelu", [x], { attributes: { approximate: string(approximate) } }),
  );
}

/** x · sigmoid(x) (Elfwing et al. 2017), also known as swish. */
export function silu(): Layer {
  return layer("silu", (net, x) => net.emit("Mul", [x, net.emit("Sigmoid", [x])]));
}

/** 1 / (1 + e^-x). */
export function sigmoid(): Layer {
  return layer("sigmoid", (net, x) => net.emit("Sigmoid", [x]));
}

/** (e^x - e^-x) / (e^x + e^-x). */
export function tanh(): Layer {
  return layer("tanh", (net, x) => net.emit("Tanh", [x]));
}

/** x · min(max(x/6 + 1/2, 0), 1) (Howard et al. 2019, MobileNetV3). */
export function hardSwish(): Layer {
  return layer("hard_swish", (net, x) => net.emit("HardSwish", [x]));
}

/** min(max(x/6 + 1/2, 0), 1) (Howard et al. 2019, MobileNetV3). */
export function hardSigmoid(): Layer {
  return layer("hard_sigmoid", (net, x) =>
    net.emit("HardSigmoid", [x], { attributes: { alpha: float(1 / 6), beta: float(0.5) } }),
  );
}

/** x where it is above zero, else slope · x (Maas et al. 2013). */
export function leakyRelu(slope = 0.01): Layer {
  return layer("leaky_relu", (net, x) =>
    net.emit("LeakyRelu", [x], { attributes: { alpha: float(slope) } }),
  );
}

/** x where it is above zero, else slope · x with a learned slope for each channel (He et al. 2015). */
export function prelu(options: { readonly slope?: number } = {}): Layer {
  const { slope = 0.25 } = options;
  return layer("prelu", (net, x) => {
    const weight = net.weight("slope", [net.channels(x)], slope);
    return net.emit("PRelu", [x, overChannels(net, weight, net.shape(x).length)]);
  });
}

/** x where it is above zero, else α·(e^x - 1) (Clevert et al. 2015). */
export function elu(alpha = 1): Layer {
  return layer("elu", (net, x) => net.emit("Elu", [x], { attributes: { alpha: float(alpha) } }));
}

/** ln(1 + e^x). */
export function softplus(): Layer {
  return layer("softplus", (net, x) => net.emit("Softplus", [x]));
}

/** x · tanh(ln(1 + e^x)) (Misra 2019). */
export function mish(): Layer {
  return layer("mish", (net, x) => net.emit("Mish", [x]));
}

/** e^x over its sum along an axis. Default: the last. */
export function softmax(axis = -1): Layer {
  return layer("softmax", (net, x) => {
    const shape = net.shape(x);
    if (normalizeAxis(axis, shape.length) === undefined) {
      const text = `there is no axis ${axis} in ${formatShape(shape)}`;
      net.fail("nn/axis", text, `Choose an axis from 0 to ${shape.length - 1}.`);
    }
    return net.emit("Softmax", [x], { attributes: { axis: int(axis) } });
  });
}
