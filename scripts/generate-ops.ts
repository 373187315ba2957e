// `npm run generate:ops`: writes docs/reference/ops.md. That it is fresh is a test (test/reference.test.ts).

import { writeFileSync } from "node:fs";
import { OPS_PAGE, opsPage } from "./ops-page.ts";

writeFileSync(OPS_PAGE, opsPage());
process.stdout.write(`${OPS_PAGE} is written\n`);
