// A picture in a file by itself: the data stands in the page, nothing is asked from anywhere. Built into one
// script, which `skipway census --html` writes into the page.

import { render } from "preact";
import type { Picture } from "../../src/analysis/picture/picture.ts";
import { pictureSummary, sizesText } from "../../src/analysis/picture/words.ts";
import { Viewer } from "./picture/viewer.tsx";
import "./style.css";
import "./picture/viewer.css";

const data = document.querySelector("#picture")?.textContent;
const app = document.querySelector("#app");
if (app !== null && data) {
  // Written by `src/dashboard/standalone.ts`, of the type that it shares with this page.
  const picture = JSON.parse(data) as Picture;
  app.replaceChildren();
  render(
    <>
      <header>
        <h1>{picture.title}</h1>
        <span class="facts">
          {pictureSummary(picture)} · {sizesText(picture)}
        </span>
      </header>
      <main>
        <Viewer picture={picture} />
      </main>
    </>,
    app,
  );
}
