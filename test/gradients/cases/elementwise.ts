// Cases of ops that treat each element alone, and of those that join arrays element by element.

import type { Random } from "../../../src/base/random.ts";
import { float } from "../../../src/graph/graph.ts";
import {
  awayFrom,
  between,
  type CaseInput,
  type Domain,
  type Generator,
  type Generators,
  normal,
  positive,
  shapeOf,
  turn,
  within,
  x,
} from "../case.ts";

/** One operand; ranks 0 to 4 take turns. */
function unary(op: string, domain: Domain = normal): Generator {
  return (random, variant) => {
    const rank = variant % 5;
    return { op, form: `rank ${rank}`, inputs: [x(shapeOf(random, rank), domain)] };
  };
}

/** One operand and a float attribute that is drawn. */
function withFloat(
  op: string,
  attribute: string,
  draw: Domain,
  domain: (value: number) => Domain = () => awayFrom(0),
): Generator {
  return (random, variant) => {
    const value = Math.fround(draw(random));
    const given = variant % 3 !== 0;
    return {
      op,
      form: given ? attribute : "default",
      inputs: [x(shapeOf(random, between(random, 1, 4)), domain(value))],
      ...(given && { attributes: { [attribute]: float(value) } }),
    };
  };
}

const SPREADS = ["same", "scalar", "row", "column", "middle", "both"] as const;

/** Two shapes that broadcast, each kind of spreading in turn. */
export function broadcasting(
  random: Random,
  variant: number,
): { readonly form: string; readonly shapes: readonly [number[], number[]] } {
  const form = turn(variant, SPREADS);
  const [a = 1, b = 1, c = 1] = Array.from({ length: 3 }, () => between(random, 2, 4));
  const table: Record<(typeof SPREADS)[number], [number[], number[]]> = {
    same: [
      [a, b, c],
      [a, b, c],
    ],
    scalar: [[a, b], []],
    row: [[a, b, c], [c]],
    column: [
      [a, b, c],
      [b, 1],
    ],
    middle: [
      [a, 1, c],
      [a, b, c],
    ],
    both: [
      [a, 1, c],
      [b, 1],
    ],
  };
  const [left, right] = table[form];
  return { form, shapes: variant % 2 === 0 ? [left, right] : [right, left] };
}

function binary(op: string, left: Domain = normal, right: Domain = normal): Generator {
  return (random, variant) => {
    const { form, shapes } = broadcasting(random, variant);
    return { op, form, inputs: [x(shapes[0], left), x(shapes[1], right)] };
  };
}

/** One to four operands of shapes that broadcast. */
function variadic(op: string, domain: () => Domain = () => normal): Generator {
  return (random, variant) => {
    const count = 1 + (variant % 4);
    const whole = shapeOf(random, 3, 4);
    const draw = domain();
    const inputs = Array.from({ length: count }, (_, i): CaseInput => {
      const shape = whole.map((dim) => (i > 0 && random.uniform() < 0.3 ? 1 : dim));
      return x(shape.slice(i === 0 ? 0 : random.integer(3)), draw);
    });
    return { op, form: `${count} operands`, inputs };
  };
}

/** All of this family. */
export const elementwise: Generators = {
  Add: binary("Add"),
  Sub: binary("Sub"),
  Mul: binary("Mul"),
  Div: binary("Div", normal, positive),
  Sum: variadic("Sum"),
  Relu: unary("Relu", awayFrom(0)),
  Sigmoid: unary("Sigmoid"),
  Tanh: unary("Tanh"),
  Exp: unary("Exp"),
  Log: unary("Log", positive),
  Sqrt: unary("Sqrt", positive),
  Reciprocal: unary("Reciprocal", awayFrom(0)),
  Neg: unary("Neg"),
  Abs: unary("Abs", awayFrom(0)),
  Identity: unary("Identity"),
  LeakyRelu: withFloat("LeakyRelu", "alpha", within(-0.5, 0.5)),
};
