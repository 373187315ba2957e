// `npm run generate:zoo`: writes docs/reference/models.md. That it is fresh is a test (test/reference.test.ts).

import { writeFileSync } from "node:fs";
import { MODELS_PAGE, modelsPage } from "./models-page.ts";

writeFileSync(MODELS_PAGE, modelsPage());
process.stdout.write(`${MODELS_PAGE} is written\n`);
