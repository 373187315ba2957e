import { PassThrough, Readable } from "node:stream";
import { deflateRawSync, deflateSync, gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { present } from "../../base/assert.ts";
import { limits } from "../../base/limits.ts";
import { HeldBytes } from "../held-bytes.ts";
import { acceptedEncoding, compressed } from "./answer-encoding.ts";
import { BodyReader } from "./body.ts";

function streamOf(...chunks: Uint8Array[]): Readable {
  return Readable.from(chunks.map((one) => Buffer.from(one)));
}

function noise(bytes: number): Buffer {
  let state = 1;
  const made = Buffer.alloc(bytes);
  for (let i = 0; i < bytes; i++) {
    state = (state * 1_103_515_245 + 12_345) & 0x7fffffff;
    made[i] = state >> 16;
  }
  return made;
}

describe("compressed bodies", () => {
  const body = Buffer.concat([noise(50_000), Buffer.alloc(50_000, 7)]);

  test.each([
    ["gzip", gzipSync(body)],
    ["X-GZip", gzipSync(body)],
    ["deflate", deflateSync(body)],
    ["identity", body],
    ["gzip, identity", gzipSync(body)],
    ["gzip", Buffer.concat([gzipSync(body.subarray(0, 9)), gzipSync(body.subarray(9))])],
  ])("%s", async (encoding, sent) => {
    const reader = new BodyReader();
    const half = sent.byteLength >> 1;
    const found = await reader.read(streamOf(sent.subarray(0, half), sent.subarray(half)), {
      "content-encoding": encoding,
    });
    expect(found.equals(body)).toBe(true);
  });

  test.each([
    ["cut off", gzipSync(body).subarray(0, 1000), "gzip"],
    ["changed", gzipSync(body).fill(0, 2000, 2010), "gzip"],
    ["no gzip", body, "gzip"],
    ["followed by more", Buffer.concat([gzipSync(body), Buffer.from("more")]), "gzip"],
    ["deflate without its frame", deflateRawSync(body), "deflate"],
    ["empty", Buffer.alloc(0), "gzip"],
  ])("%s is 400", async (_what, sent, encoding) => {
    const read = new BodyReader().read(streamOf(sent), { "content-encoding": encoding });
    await expect(read).rejects.toMatchObject({ status: 400 });
  });

  test.each(["br", "gzip, gzip", "deflate, gzip", "compress", "zstd"])(
    "%s is 415",
    async (encoding) => {
      const read = new BodyReader().read(streamOf(body), { "content-encoding": encoding });
      await expect(read).rejects.toMatchObject({ status: 415 });
    },
  );

  test("a bomb is 413 before it is held", async () => {
    let held = 0;
    const bomb = gzipSync(Buffer.alloc(60_000_000));
    const before = process.memoryUsage().arrayBuffers;
    const read = new BodyReader().read(streamOf(bomb), { "content-encoding": "gzip" });
    const watch = setInterval(() => {
      held = Math.max(held, process.memoryUsage().arrayBuffers - before);
    }, 1);
    await expect(read).rejects.toMatchObject({ status: 413 });
    clearInterval(watch);
    expect(held).toBeLessThan(
      limits.inflationMax * bomb.byteLength + 2 * limits.inflationFreeBytes,
    );
  });

  test("what unfolds beyond the limit of a body is 413, whatever its ratio", async () => {
    const large = deflateSync(Buffer.concat(Array.from({ length: 70 }, () => noise(1_000_000))));
    const read = new BodyReader().read(streamOf(large), { "content-encoding": "deflate" });
    await expect(read).rejects.toMatchObject({ status: 413 });
  });

  test("unfolded bytes count among those of other requests, and no longer once they are whole", async () => {
    const reader = new BodyReader(new HeldBytes(1000));
    const zipped = gzipSync(Buffer.alloc(900));
    const read = () => reader.read(streamOf(zipped), { "content-encoding": "gzip" });
    const slow = new PassThrough();
    const whole = reader.read(slow);
    slow.write(Buffer.alloc(200));
    await expect(read()).rejects.toMatchObject({ status: 503, retryAfterSeconds: 1 });
    slow.end();
    expect(await whole).toHaveLength(200);
    expect(await read()).toHaveLength(900);
  });

  test("where all together are too many, those that began last give way, and not those that are large", async () => {
    const reader = new BodyReader(new HeldBytes(1000));
    const [large, ...small] = Array.from({ length: 4 }, () => new PassThrough());
    const whole = reader.read(present(large, "the first"));
    const others = small.map((one) => reader.read(one));
    for (const one of small) one.write(Buffer.alloc(200));
    large?.write(Buffer.alloc(500));
    const full = { status: 503, retryAfterSeconds: 1 };
    await expect(others[2]).rejects.toMatchObject(full);
    large?.write(Buffer.alloc(250));
    await expect(others[1]).rejects.toMatchObject(full);
    small[0]?.write(Buffer.alloc(100));
    await expect(others[0]).rejects.toMatchObject(full);
    large?.end();
    expect(await whole).toHaveLength(750);
    expect(await reader.read(streamOf(Buffer.alloc(1000)))).toHaveLength(1000);
  });
});

describe("bodies in chunks", () => {
  test("many small ones are put together", async () => {
    const whole = noise(5000);
    const found = await new BodyReader().read(
      streamOf(...Array.from(whole, (byte) => Buffer.of(byte))),
    );
    expect(found.equals(whole)).toBe(true);
  });

  test("their number is bounded where the length is not known", async () => {
    const flood = (): Readable => {
      const body = new PassThrough({ highWaterMark: 1 });
      let sent = 0;
      const more = (): void => {
        while (sent < limits.bodyChunksMax + 1000) {
          sent++;
          if (!body.write("x")) {
            body.once("drain", more);
            return;
          }
        }
        body.end();
      };
      more();
      return body;
    };
    const chunked = new BodyReader().read(flood(), { "transfer-encoding": "chunked" });
    await expect(chunked).rejects.toMatchObject({ status: 413 });
  });

  test("a body that is cut off is 400, and no longer counted", async () => {
    const reader = new BodyReader(new HeldBytes(10));
    const body = new PassThrough();
    const read = reader.read(body);
    body.write("0123456789");
    setImmediate(() => body.destroy());
    await expect(read).rejects.toMatchObject({ status: 400 });
    expect(await reader.read(streamOf(Buffer.alloc(10)))).toHaveLength(10);
  });
});

describe("compressed answers", () => {
  test.each<[string | undefined, string | undefined]>([
    [undefined, undefined],
    ["gzip", "gzip"],
    ["gzip, deflate", "gzip"],
    ["deflate;q=1, gzip;q=0.5", "deflate"],
    ["gzip;q=0", undefined],
    ["*", "gzip"],
    ["*;q=0, deflate", "deflate"],
    ["identity, gzip;q=0.5", undefined],
    ["br, zstd", undefined],
    ["gzip;q=nonsense", undefined],
    ["", undefined],
    [`${"a,".repeat(1000)}gzip`, undefined],
  ])("%s: %s", (header, expected) => {
    expect(acceptedEncoding(header)).toBe(expected);
  });

  test("only what becomes smaller is compressed", async () => {
    expect(await compressed(Buffer.alloc(1000), "gzip")).toBeUndefined();
    expect(await compressed(noise(100_000), "gzip")).toBeUndefined();
    const found = await compressed(Buffer.alloc(100_000, "1.5,"), "gzip");
    expect(found?.byteLength).toBeLessThan(5000);
  });
});
