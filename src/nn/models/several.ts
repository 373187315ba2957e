// Networks with more than one input or more than one output.

import { int } from "../../graph/graph.ts";
import { mustAgree } from "../blocks/merge.ts";
import { residual } from "../blocks/residual.ts";
import { type Layer, layer, named } from "../layer.ts";
import { batchNorm, conv, dense, globalPool, relu, sequential } from "../layers/index.ts";

/** Options of a two-tower network. */
export interface TwoTowersOptions {
  /** Default 10. */
  readonly classes?: number;
  /** Channels of the image tower, and of the features of both. Default 32. */
  readonly width?: number;
  /** Blocks of the image tower. Default 3. */
  readonly blocks?: number;
  /** The second input: its name and the numbers that it has for each example. */
  readonly second: { readonly name: string; readonly size: number };
}

/**
 * Two towers, `[N, C, H, W]` and a second input `[N, size]` → `[N, classes]`: features of an image and of
 * what goes with it, fused as `image + other + mlp([image, other])`, so that each tower is heard even
 * where the fusion has nothing to say.
 *
 * @example
 * nn.twoTowers({ classes: 5, second: { name: "sensors", size: 12 } })
 */
export function twoTowers(options: TwoTowersOptions): Layer {
  const { classes = 10, width = 32, blocks = 3, second } = options;
  const image = sequential(
    ...[conv(width, 3, { bias: false }), batchNorm(), relu()],
    ...Array.from({ length: blocks }, () => residual(width)),
    globalPool(),
  );
  const other = sequential(dense(width), relu(), dense(width));
  const fusion = sequential(dense(2 * width), relu(), dense(width));
  return layer("two_towers", (net, x) => {
    const seen = net.inside(named("image", image), x);
    const told = net.inside(named("other", other), net.input(second.name, ["N", second.size]));
    mustAgree(net, seen, told, "Let both towers make as many features.");
    const both = net.emit("Concat", [seen, told], {
      name: "both",
      attributes: { axis: int(1) },
    });
    const more = net.inside(named("fusion", fusion), both);
    const fused = net.emit("Sum", [seen, told, more], { name: "merge" });
    return net.inside(named("classify", dense(classes)), fused);
  });
}

/** Options of a network with several heads. */
export interface MultiTaskOptions {
  /** Channels. Default 32. */
  readonly width?: number;
  /** Residual blocks of the trunk. Default 3. */
  readonly blocks?: number;
  /** Numbers that the network's own output has. */
  readonly main: number;
  /** Further outputs by name, and the numbers that each has. */
  readonly heads: Readonly<Record<string, number>>;
}

/**
 * One residual trunk and a head for each task (Caruana 1997, "Multitask learning"), `[N, C, H, W]` →
 * `[N, main]`, and a further output for each head.
 *
 * @example
 * nn.multiTask({ main: 10, heads: { age: 1, mood: 7 } })
 */
export function multiTask(options: MultiTaskOptions): Layer {
  const { width = 32, blocks = 3, main, heads } = options;
  const trunk = sequential(
    ...[conv(width, 3, { bias: false }), batchNorm(), relu()],
    ...Array.from({ length: blocks }, () => residual(width)),
    globalPool(),
  );
  return layer("multi_task", (net, x) => {
    const features = net.inside(named("trunk", trunk), x);
    for (const [name, size] of Object.entries(heads)) {
      net.output(name, net.inside(named(`${name}_head`, dense(size)), features));
    }
    return net.inside(named("main_head", dense(main)), features);
  });
}
