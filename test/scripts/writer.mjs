// Registers version after version and says each number once it is acknowledged.

import { Registry } from "../../dist/registry/registry.js";

const registry = await Registry.open(process.argv[2]);
for (let i = 1; ; i++) {
  const attachments = new Map([["note", Buffer.from(`note ${i}`)]]);
  const metadata = { createdBy: "writer", metrics: {} };
  const { version } = await registry.push("m", Buffer.from(`content ${i}`), {
    metadata,
    attachments,
  });
  process.stdout.write(`${version.version}\n`);
}
