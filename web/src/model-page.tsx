// The page of one version of a model: its skips, to look around in.

import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { Picture } from "../../src/analysis/picture/picture.ts";
import { pictureSummary, sizesText } from "../../src/analysis/picture/words.ts";
import { Nav } from "./nav.tsx";
import { Viewer } from "./picture/viewer.tsx";
import { fetchJson } from "./state.ts";
import "./style.css";
import "./picture/viewer.css";

function Page({ name, version }: { name: string; version: string }) {
  // `null` is a version from before there was such a picture, or one that is not there.
  const [picture, setPicture] = useState<Picture | null>();
  const path = `/api/v1/models/${encodeURIComponent(name)}/versions/${encodeURIComponent(version)}`;
  useEffect(() => {
    document.title = `${name} version ${version}: skips`;
    void fetchJson<Picture>(`${path}/picture`).then((found) => setPicture(found ?? null));
  }, [name, version]);
  return (
    <>
      <header>
        <h1>
          <a href="/">skipway</a> <span>{name}</span>
        </h1>
        <Nav />
        <span class="facts">
          version {version}
          {picture && ` · ${pictureSummary(picture)} · ${sizesText(picture)}`}
        </span>
      </header>
      <main>
        {picture === undefined && <p class="loading">Loading the picture…</p>}
        {picture === null && (
          <p>
            There is no picture of this version. <a href="/">What is served</a>
          </p>
        )}
        {picture && <Viewer picture={picture} />}
      </main>
    </>
  );
}

const [, , name = "", version = ""] = location.pathname.split("/").map(decodeURIComponent);
const app = document.querySelector("#app");
if (app !== null) {
  app.replaceChildren();
  render(<Page name={name} version={version} />, app);
}
