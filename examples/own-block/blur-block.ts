// A layer and a block of one's own: pictures are blurred before pixels are dropped, so that a shift by one
// pixel changes little (Zhang 2019, "Making convolutional networks shift-invariant again", 1904.11486).

import { float32, nn } from "skipway";

/** Weights of a binomial blur; they sum to 1. */
const BLUR = [1, 2, 1].flatMap((row) => [1, 2, 1].map((column) => (row * column) / 16));

/** `[N, C, H, W]` → `[N, C, H/2, W/2]`: every second pixel of the blurred picture. */
export function blurPool(): nn.Layer {
  return nn.layer("blur", (net, x) => {
    const channels = net.channels(x);
    const all = Array.from({ length: channels }, () => BLUR).flat();
    const filter = net.constant(float32([channels, 1, 3, 3], all));
    return net.emit("Conv", [x, filter], {
      attributes: {
        group: nn.int(channels),
        kernel_shape: nn.ints([3, 3]),
        pads: nn.ints([1, 1, 1, 1]),
        strides: nn.ints([2, 2]),
      },
    });
  });
}

/** `[N, C, H, W]` → `[N, channels, H/2, W/2]`: relu(a·project(blur(x)) + blur(f(x))), a learned. */
export function blurResidual(channels: number): nn.Layer {
  const branch = nn.sequential(
    nn.conv(channels, 3, { bias: false }),
    nn.batchNorm(),
    nn.relu(),
    nn.conv(channels, 3, { bias: false }),
    nn.batchNorm(),
    blurPool(),
  );
  const shortcut = nn.sequential(blurPool(), nn.conv(channels, 1));
  return nn.layer("blur_residual", (net, x) => {
    const [height, width] = [net.size(x, 2), net.size(x, 3)];
    if (height < 2 || width < 2) {
      net.fail(
        "own/size",
        `a picture of ${height}x${width} pixels cannot be halved`,
        "Put the block where pictures are larger.",
      );
    }
    const made = net.inside(nn.named("branch", branch), x);
    const carried = net.inside(nn.named("shortcut", shortcut), x);
    const factor = net.weight("factor", [1], 1);
    const scaled = net.emit("Mul", [carried, factor]);
    return net.inside(nn.relu(), net.emit("Add", [made, scaled], { name: "merge" }));
  });
}
