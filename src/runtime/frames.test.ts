import {
  appendFileSync,
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { SkipwayError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { stringTensor } from "../graph/string-tensor.ts";
import { type Tensor, tensor } from "../graph/tensor.ts";
import { FrameChannel } from "./frame-channel.ts";
import {
  type Frame,
  FrameEncoder,
  FrameReader,
  LANE_BYTES,
  LANES,
  type Part,
  PREFIX_BYTES,
  partsOf,
  readPrefix,
  spread,
} from "./frames.ts";

const folder = mkdtempSync(join(tmpdir(), "skipway-frames-"));
const file = join(folder, "frames");
afterAll(() => rmSync(folder, { recursive: true }));

const numbers = fc
  .tuple(fc.constantFrom("uint8", "float32", "int64"), fc.array(fc.nat(3), { maxLength: 3 }))
  .map(([dtype, shape]): Tensor => {
    const width = dtype === "uint8" ? 1 : dtype === "float32" ? 4 : 8;
    const count = shape.reduce((a, b) => a * b, 1);
    const bytes = Uint8Array.from({ length: width * count }, (_, i) => i % 251);
    return tensor(dtype as "uint8", shape, bytes);
  });
const strings = fc
  .array(fc.string({ unit: "grapheme" }), { maxLength: 4 })
  .map((values) => stringTensor([values.length], values));
/** Beyond what is written as one piece, and now and then beyond what the channel stages and keeps. */
const large = fc
  .constantFrom(9_000, 70_000, 5_000_000)
  .map((count) => tensor("uint8", [count], new Uint8Array(count).fill(count % 255)));
const tensors = fc
  .dictionary(
    fc.string(),
    fc.oneof({ weight: 9, arbitrary: numbers }, strings, { weight: 1, arbitrary: large }),
    { maxKeys: 3 },
  )
  .map((found) => new Map(Object.entries(found)));
/** Some of them twice, and in between with their axes in another order: as many bytes, another header. */
const messages = fc
  .array(fc.tuple(tensors, fc.boolean()), { minLength: 1, maxLength: 4 })
  .map((list) =>
    list.flatMap(([found, again]) => (again ? [found, turned(found), found] : [found])),
  );

function turned(found: ReadonlyMap<string, Tensor>): ReadonlyMap<string, Tensor> {
  return new Map(
    [...found].map(([name, value]) => [name, { ...value, shape: value.shape.toReversed() }]),
  );
}

function encodeFrame(id: number, header: Frame["header"], parts: readonly Part[] = []) {
  return new FrameEncoder().encode({ id, header, parts });
}

function plain({ id, header, computeMs, tensors: found }: Frame) {
  return {
    ...{ id, computeMs, note: header["note"] },
    tensors: [...found].map(([name, { dtype, shape, data }]) => ({
      ...{ name, dtype, shape, aligned: data.bytes.byteOffset % 8 === 0 },
      bytes: Buffer.from(data.bytes).toString("latin1"),
    })),
  };
}

function streamOf(sent: readonly Frame[]): Buffer {
  const encoder = new FrameEncoder();
  return Buffer.concat(
    sent.flatMap((one) => encoder.encode({ ...one, parts: partsOf(one.tensors) })),
  );
}

function framed(list: readonly ReadonlyMap<string, Tensor>[]): Frame[] {
  return list.map((found, i) => ({
    id: i + 4_000_000_000,
    // Like the one before, or another.
    header: { note: `é ${"x".repeat(i >> 2)}` },
    computeMs: i / 3,
    tensors: found,
  }));
}

describe("frames", () => {
  test("come out as they went in, however the stream is cut", () => {
    fc.assert(
      fc.property(messages, fc.integer({ min: 1, max: 40 }), (list, piece) => {
        const sent = framed(list);
        const stream = streamOf(sent);
        const step = stream.byteLength > 100_000 ? piece * 1000 : piece;
        const reader = new FrameReader();
        const got: Frame[] = [];
        for (let at = 0; at < stream.length; at += step) {
          got.push(...reader.push(stream.subarray(at, at + step)));
        }
        expect(got.map(plain)).toEqual(sent.map(plain).map(aligned));
      }),
      { numRuns: 60 },
    );
  });

  test("come through a channel as they went in, each valid until the next", () => {
    fc.assert(
      fc.property(messages, (list) => {
        const sent = framed(list);
        const out = openSync(file, "w");
        const writer = new FrameChannel(out);
        for (const one of sent) writer.write({ ...one, parts: partsOf(one.tensors) });
        closeSync(out);
        expect(Buffer.compare(readFileSync(file), streamOf(sent))).toBe(0);
        const from = openSync(file, "r");
        const channel = new FrameChannel(from);
        const got = sent.map(() => plain(channel.read() as Frame));
        expect(got).toEqual(sent.map(plain).map(aligned));
        expect(channel.read()).toBeUndefined();
        closeSync(from);
      }),
      { numRuns: 40 },
    );
  });

  test("large ones are spread over lanes and come together again, whatever their size", () => {
    const bytes = fc.oneof(
      ...[0, 1, 2, LANES, LANES + 1, LANES + 2].map((lanes) =>
        fc.integer({ min: -300, max: 300 }).map((more) => Math.max(0, lanes * LANE_BYTES + more)),
      ),
    );
    fc.assert(
      fc.property(
        fc.array(bytes, { minLength: 1, maxLength: 3 }),
        fc.integer({ min: 1, max: 5 }),
        (sizes, count) => {
          const files = Array.from({ length: LANES + 1 }, (_, i) => join(folder, `lane${i}`));
          for (const one of files) writeFileSync(one, "");
          const sent = sizes.map((size) =>
            Buffer.from(Uint8Array.from({ length: size }, (_, i) => (i * 31) % 253)),
          );
          for (const [i, content] of sent.entries()) {
            const step = Math.max(1, Math.ceil(content.byteLength / count));
            const pieces = Array.from({ length: count }, (_, k) =>
              content.subarray(k * step, (k + 1) * step),
            );
            const part = {
              name: "x",
              dtype: "uint8" as const,
              shape: [content.byteLength],
              pieces,
            };
            const streams = spread(encodeFrame(i, {}, [part]));
            for (const [k, stream] of streams.entries()) {
              for (const piece of stream) appendFileSync(files[k] ?? "", piece);
            }
          }
          const [first = -1, ...lanes] = files.map((one) => openSync(one, "r"));
          const channel = new FrameChannel(first, lanes);
          for (const content of sent) {
            const got = channel.read()?.tensors.get("x")?.data.bytes ?? new Uint8Array();
            expect(Buffer.compare(Buffer.from(got), content)).toBe(0);
          }
          expect(channel.read()).toBeUndefined();
          for (const fd of [first, ...lanes]) closeSync(fd);
        },
      ),
      { numRuns: 30 },
    );
  });

  test("pieces of a tensor arrive as one", () => {
    const pieces = [Uint8Array.of(1, 2), new Uint8Array(), Uint8Array.of(3)];
    const part = { name: "x", dtype: "uint8" as const, shape: [3], pieces };
    const [frame] = new FrameReader().push(Buffer.concat(encodeFrame(1, {}, [part])));
    expect([...(frame?.tensors.get("x")?.data.bytes ?? [])]).toEqual([1, 2, 3]);
  });

  test("sizes beyond the limits are refused before anything is allocated for them", () => {
    const frame = Buffer.concat(encodeFrame(1, { kind: "run" }));
    const changed = (at: number, value: number): Buffer => {
      const bytes = Buffer.from(frame);
      bytes.writeUInt32LE(value, at);
      return bytes;
    };
    expect(readPrefix(frame).id).toBe(1);
    for (const [at, value] of [
      [0, 0],
      [8, 0],
      [8, 15],
      [8, limits.frameHeaderBytesMax + 8],
      [12, limits.frameBytesMax],
    ] as const) {
      expect(() => new FrameReader().push(changed(at, value)), `${at}`).toThrow(/not accepted/);
    }
    const heap = { name: "x", dtype: "uint8" as const, shape: [limits.frameBytesMax] };
    const pieces = Array.from({ length: 512 }, () => new Uint8Array(1_048_576));
    expect(() => encodeFrame(1, {}, [{ ...heap, pieces: [...pieces, ...pieces] }])).toThrow(
      /at most/,
    );
  });

  test("a header of any other form is refused as such, whatever stands in it", () => {
    const entry = fc.oneof(
      fc.tuple(
        fc.constantFrom("x", 1, null),
        fc.constantFrom("uint8", "float32", "no", 3),
        fc.oneof(fc.array(fc.integer({ min: -2, max: 3 }), { maxLength: 2 }), fc.constant("2")),
        fc.oneof(fc.integer({ min: -4, max: 40 }), fc.double()),
      ),
      fc.anything(),
    );
    fc.assert(
      fc.property(fc.oneof(fc.array(entry, { maxLength: 2 }), fc.anything()), (listed) => {
        const frame = encodeFrame(1, {}, []);
        const text = Buffer.from(JSON.stringify({ tensors: listed }));
        const headerBytes = Math.ceil(text.byteLength / 8) * 8;
        const head = Buffer.concat(
          [frame[0]?.subarray(0, 16) ?? Buffer.of(), text],
          PREFIX_BYTES + headerBytes,
        );
        head.fill(" ", PREFIX_BYTES + text.byteLength);
        head.writeUInt32LE(headerBytes, 8);
        try {
          const [got] = new FrameReader().push(head);
          // What is accepted adds up: no tensor has bytes, as the body has none.
          for (const found of got?.tensors.values() ?? [])
            expect(found.data.bytes.byteLength).toBe(0);
        } catch (error) {
          expect(error).toBeInstanceOf(SkipwayError);
        }
      }),
      { numRuns: 500 },
    );
    writeFileSync(file, Buffer.concat(encodeFrame(1, {})).subarray(0, PREFIX_BYTES + 1));
    const from = openSync(file, "r");
    expect(new FrameChannel(from).read()).toBeUndefined();
    closeSync(from);
  });
});

function aligned(one: ReturnType<typeof plain>): ReturnType<typeof plain> {
  return { ...one, tensors: one.tensors.map((found) => ({ ...found, aligned: true })) };
}
