import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { fakePicture } from "../analysis/picture/picture.test-helper.ts";
import { standalonePage } from "./standalone.ts";

const evil = `</script><img src=x onerror=alert(1)><!--&"'\u2028`;

test("names cannot leave the data, and what is read back is what was written", async () => {
  const picture = fakePicture(3, [[0, 2]]);
  const nodes = picture.nodes.map((node) => ({ ...node, name: evil }));
  const page = await standalonePage({ ...picture, title: evil, nodes });
  expect(page).not.toContain("<img src=x");
  expect(page.match(/<script/g)).toHaveLength(2);
  expect(page.match(/<\/script/g)).toHaveLength(2);
  const [, data = ""] = page.match(/id="picture">(.*?)<\/script>/s) ?? [];
  expect(JSON.parse(data).nodes[0].name).toBe(evil);
});

test("the policy allows this script and these styles, and no request", async () => {
  const page = await standalonePage(fakePicture(3, [[0, 2]]));
  const [, policy = ""] = page.match(/Content-Security-Policy" content="([^"]*)"/) ?? [];
  const text = (tag: string): string =>
    page.match(new RegExp(`<${tag}>(.*?)</${tag}>`, "s"))?.[1] ?? "";
  const hash = (of: string): string => createHash("sha256").update(of).digest("base64");
  expect(policy).toContain("default-src 'none'");
  expect(policy).toContain(`script-src 'sha256-${hash(text("script"))}'`);
  expect(policy).toContain(`style-src 'sha256-${hash(text("style"))}'`);
});
