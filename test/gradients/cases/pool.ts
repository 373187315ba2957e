// Cases of pooling.

import { between, distinct, type Generator, type Generators, shapeOf, x } from "../case.ts";

/** Over all pixels of a channel. */
function global(op: string): Generator {
  return (random, variant) => {
    const rank = 1 + (variant % 3);
    const shape = [between(random, 1, 3), between(random, 1, 3), ...shapeOf(random, rank, 4)];
    return { op, form: `${rank}-D`, inputs: [x(shape, distinct())] };
  };
}

/** All of this family. */
export const pool: Generators = {
  GlobalAveragePool: global("GlobalAveragePool"),
  GlobalMaxPool: global("GlobalMaxPool"),
};
