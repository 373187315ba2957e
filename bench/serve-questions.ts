// Questions of the serving benchmark, as bytes, and what a server's metrics say.

/** A tensor of equal numbers. */
export interface InputForm {
  readonly name: string;
  readonly dtype: "int32" | "float32";
  readonly shape: readonly number[];
}

/** A body of HTTP with its headers; base64, as it goes to another process. */
export interface Body {
  readonly body: string;
  readonly headers: Readonly<Record<string, string>>;
}

const DATATYPES = { int32: "INT32", float32: "FP32" } as const;

function contentOf({ dtype, shape }: InputForm): Buffer {
  const size = shape.reduce((a, b) => a * b, 1);
  const data = dtype === "int32" ? new Int32Array(size).fill(3) : new Float32Array(size).fill(0.5);
  return Buffer.from(data.buffer);
}

/** JSON; numbers have digits as real ones do. */
export function jsonBody({ name, dtype, shape }: InputForm): Body {
  const size = shape.reduce((a, b) => a * b, 1);
  const data = Array.from({ length: size }, (_, i) =>
    dtype === "int32" ? 3 : Math.fround(((i * 7919) % 1000) / 1009),
  );
  const document = { inputs: [{ name, datatype: DATATYPES[dtype], shape, data }] };
  return {
    body: Buffer.from(JSON.stringify(document)).toString("base64"),
    headers: { "content-type": "application/json" },
  };
}

/** A JSON header and the bytes of the tensor, both ways. */
export function binaryBody(form: InputForm): Body {
  const content = contentOf(form);
  const { name, dtype, shape } = form;
  const parameters = { binary_data_size: content.byteLength };
  const head = Buffer.from(
    JSON.stringify({
      parameters: { binary_data_output: true },
      inputs: [{ name, datatype: DATATYPES[dtype], shape, parameters }],
    }),
  );
  return {
    body: Buffer.concat([head, content]).toString("base64"),
    headers: {
      "content-type": "application/octet-stream",
      "inference-header-content-length": String(head.byteLength),
    },
  };
}

/** `ModelInferRequest` with raw contents: model_name 1, inputs 5 (name 1, datatype 2, shape 3), raw contents 7. */
export function grpcBody(model: string, form: InputForm): Body {
  const dims = Buffer.concat(form.shape.map((dim) => varint(dim)));
  const input = [field(1, form.name), field(2, DATATYPES[form.dtype]), field(3, dims)];
  const parts = [field(1, model), field(5, Buffer.concat(input)), field(7, contentOf(form))];
  return { body: Buffer.concat(parts).toString("base64"), headers: {} };
}

function field(number: number, content: string | Uint8Array): Buffer {
  const bytes = Buffer.from(content);
  return Buffer.concat([varint((number << 3) | 2), varint(bytes.byteLength), bytes]);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  return Buffer.from([...bytes, rest]);
}

/** The samples of a server's text metrics. */
export class Metrics {
  readonly #lines: readonly string[];

  constructor(text: string) {
    this.#lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  }

  static async of(at: string): Promise<Metrics> {
    return new Metrics(await (await fetch(`${at}/metrics`)).text());
  }

  /** The sum of all samples of a name whose labels have these texts. */
  sum(name: string, ...labels: readonly string[]): number {
    let sum = 0;
    for (const line of this.#lines) {
      const end = line.search(/[{ ]/);
      if (line.slice(0, end) !== name || !labels.every((label) => line.includes(label))) continue;
      sum += Number(/ (\S+)$/.exec(line)?.[1] ?? 0);
    }
    return sum;
  }
}

/** A quantile of a list, the nearest rank. */
export function quantile(values: readonly number[], p: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(p * sorted.length) - 1)] ?? Number.NaN;
}

/** Four digits. */
export function rounded(value: number): number {
  return Number(value.toPrecision(4));
}
