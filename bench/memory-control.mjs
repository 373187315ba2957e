// Graphs with control flow, over values of 16 MiB, for `memory.bench.ts`.

const COUNT = 4_194_304;
const F = `float[${COUNT}]`;

/** The body of a Scan, whose rows are stacked or not. */
const scan = (steps, stacked) => `
  g (${F} x, float[${steps},${COUNT}] rows) => (${F} y${stacked ? `, float[${steps},${COUNT}] all` : ""}) {
    y${stacked ? ", all" : ""} = Scan (x, rows) <
      num_scan_inputs = 1,
      body = step (${F} h, ${F} row) => (${F} next${stacked ? `, ${F} out` : ""}) {
        a = Neg (row)
        b = Abs (a)
        out = Mul (h, b)
        next = Add (h, out)
      }>
  }`;

/** In the text form, by name. */
export const CONTROL = {
  if: `
  g (${F} x) => (${F} y) <float zero = {0}> {
    s = ReduceMax <keepdims = 0> (x)
    c = Greater (s, zero)
    z = If (c) <
      then_branch = long () => (${F} p) {
        a = Neg (x)
        b = Abs (a)
        d = Add (a, b)
        p = Neg (d)
      },
      else_branch = short () => (${F} q) { q = Abs (x) }>
    y = Neg (z)
  }`,
  loop: `
  g (${F} x) => (${F} y) <int64 trips = {4}, bool go = {1}> {
    y = Loop (trips, go, x) <
      body = step (int64 i, bool on, ${F} h) => (bool on2, ${F} next) {
        on2 = Identity (on)
        a = Concat <axis = 0> (h, h, h)
        r, s, t = Split <axis = 0, num_outputs = 3> (a)
        u = Add (r, s)
        next = Add (u, t)
      }>
  }`,
  "loop-rows": `
  g (${F} x) => (${F} y, float[8,${COUNT / 4}] all)
  <int64 trips = {8}, bool go = {1}, int64[2] four = {4, ${COUNT / 4}}, int64[1] first = {0}> {
    y, all = Loop (trips, go, x) <
      body = step (int64 i, bool on, ${F} h) => (bool on2, ${F} next, float[${COUNT / 4}] row) {
        on2 = Identity (on)
        next = Neg (h)
        m = Reshape (next, four)
        row = ReduceMax <keepdims = 0> (m, first)
      }>
  }`,
  "scan-2": scan(2, false),
  "scan-4": scan(4, false),
  "scan-4-rows": scan(4, true),
  outputs: `
  g (${F} x) => (float[${8 * COUNT}] y) { y = Concat <axis = 0> (x, x, x, x, x, x, x, x) }`,
};
