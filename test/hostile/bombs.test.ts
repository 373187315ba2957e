import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { deflateSync, gzipSync } from "node:zlib";
import { afterAll, beforeAll, expect, test } from "vitest";
import { limits } from "../../src/base/limits.ts";
import { Running } from "../cli.ts";
import { affineModel } from "../models.ts";
import { GOOD, INFER, requestText, Wire } from "./harness.ts";

// What unfolds to far more than was sent, and what never ends, against a server in a process of its own: its memory
// is looked at from outside.

let folder = "";
let running: Running;
let at = "";
let port = 0;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "skipway-bombs-"));
  const model = join(folder, "affine.onnx");
  await writeFile(model, affineModel());
  running = new Running(["serve", model, "--port", "0", "--no-grpc", "--data", join(folder, "d")]);
  [, at = ""] = await running.says(/(http:\/\/127\.0\.0\.1:\d+) {2}Open Inference Protocol/);
  port = Number(new URL(at).port);
});
afterAll(async () => {
  running.kill("SIGINT");
  await running.done;
  await rm(folder, { recursive: true });
});

/** The most that the server has held so far, of all its memory. */
async function peakBytes(): Promise<number> {
  const status = await readFile(`/proc/${running.process.pid}/status`, "utf8");
  return 1024 * Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]);
}

test.each([
  ["gzip", gzipSync],
  ["deflate", deflateSync],
] as const)(
  "eight bombs of %s at once are refused in little memory",
  async (encoding, pack) => {
    // 256 MB each: a server that unfolded them would hold 2 GB.
    const bomb = pack(Buffer.alloc(4 * limits.requestBytesMax), { level: 9 });
    const before = await peakBytes();
    const answers = await Promise.all(
      Array.from({ length: 8 }, () =>
        fetch(`${at}${INFER}`, {
          method: "POST",
          body: new Uint8Array(bomb),
          headers: { "content-encoding": encoding },
        }).then(
          ({ status }) => status,
          () => 413,
        ),
      ),
    );
    expect(answers).toEqual(Array(8).fill(413));
    // Less than one of them has: each is given up after a few megabytes.
    expect((await peakBytes()) - before).toBeLessThan(4 * limits.requestBytesMax);
  },
  30_000,
);

test("bodies in chunks that never end are cut off in bounded memory", async () => {
  const before = await peakBytes();
  const chunk = Buffer.concat([
    Buffer.from("100000\r\n"),
    Buffer.alloc(2 ** 20, 0x20),
    Buffer.from("\r\n"),
  ]);
  const ends = Array.from({ length: 4 }, async () => {
    const wire = new Wire(port);
    wire.send(requestText(`POST ${INFER} HTTP/1.1`, ["Transfer-Encoding: chunked"]));
    let sent = 0;
    // As long as somebody takes them, and at most four times what a body may have.
    while (!wire.socket.closed && !wire.socket.destroyed && sent < 4 * limits.requestBytesMax) {
      sent += chunk.length;
      if (wire.socket.write(chunk)) continue;
      await new Promise<void>((resolve) => {
        for (const event of ["drain", "close"]) wire.socket.once(event, () => resolve());
      });
    }
    const text = await wire.says(/^HTTP\/1\.1 \d+/);
    wire.socket.destroy();
    return text.slice(0, 12);
  });
  for (const text of await Promise.all(ends))
    expect(["HTTP/1.1 413", "HTTP/1.1 503", ""]).toContain(text);
  // 1 GB was there to be taken.
  expect((await peakBytes()) - before).toBeLessThan(limits.bodiesBytesMax);
  const right = await fetch(`${at}${INFER}`, { method: "POST", body: GOOD });
  expect(right.status).toBe(200);
}, 30_000);
