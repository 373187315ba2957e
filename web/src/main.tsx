// The home page: what is served, its picture, how it was trained, how it does now, and a try.

import { render } from "preact";
import type { ModelCard } from "../../src/dashboard/api.ts";
import { Draw } from "./draw.tsx";
import { bytes } from "./format.ts";
import { Live } from "./live.tsx";
import { Nav } from "./nav.tsx";
import { connect, connected, overview, stats } from "./state.ts";
import { Training } from "./training.tsx";

function Page() {
  const known = overview.value;
  if (known === undefined) return <p class="loading">Loading what is served…</p>;
  const [model] = known.models;
  if (model === undefined) return <p>Nothing is served.</p>;
  return (
    <>
      <Head model={model} version={known.server.version} />
      <main>
        <Picture model={model} />
        <div class="columns">
          <div>
            <Live model={model} />
            <Checks model={model} />
          </div>
          <div>{model.digits ? <Draw model={model} /> : <Try model={model} />}</div>
        </div>
        {model.trained && <Training model={model} />}
      </main>
    </>
  );
}

function Head({ model, version }: { model: ModelCard; version: string }) {
  const live = stats.value?.models.find(
    (one) => one.model === model.name && one.version === model.version,
  );
  const state = connected.value ? (live?.state ?? "starting") : "disconnected";
  return (
    <header>
      <h1>
        skipway <span>{model.name}</span>
      </h1>
      <Nav here="/" />
      <span class={`badge ${state === "ready" ? "good" : "bad"}`} role="status">
        {state}
      </span>
      <span class="facts">
        version {model.version}
        {model.aliases.map((alias) => ` · ${alias}`)} · {bytes(model.bytes)} ·{" "}
        <code title={model.digest}>{model.digest.slice(7, 19)}</code> · skipway {version}
      </span>
    </header>
  );
}

function Picture({ model }: { model: ModelCard }) {
  const source = `/api/v1/models/${encodeURIComponent(model.name)}/versions/${model.version}/picture.svg`;
  return (
    <section aria-labelledby="picture-title">
      <h2 id="picture-title">
        The model and its skips <small>{model.skips} skip connections</small>{" "}
        <small>
          <a href={`/models/${encodeURIComponent(model.name)}/${model.version}`}>
            look around in it
          </a>
        </small>
      </h2>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls must be reachable by keyboard */}
      <section class="picture" tabIndex={0} aria-label="Picture of the model">
        <object data={source} type="image/svg+xml" aria-label={`Skips of ${model.name}`} />
      </section>
    </section>
  );
}

function Checks({ model }: { model: ModelCard }) {
  return (
    <section aria-labelledby="checks-title">
      <h2 id="checks-title">Release checks</h2>
      <table>
        <tbody>
          {model.check.map((rule) => (
            <tr key={rule.id}>
              <th scope="row">{rule.id}</th>
              <td>
                {rule.passed ? "passed" : "failed"}: {rule.text}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

/** For models other than the starter: how to ask it. */
function Try({ model }: { model: ModelCard }) {
  const inputs = model.inputs.map(({ name, datatype, shape }) => {
    const sizes = shape.map((dim) => (dim < 0 ? 1 : dim));
    return { name, datatype, shape: sizes, data: ["…"] };
  });
  const body = JSON.stringify({ inputs }).replaceAll('["…"]', "[…]");
  return (
    <section aria-labelledby="try-title">
      <h2 id="try-title">Ask it</h2>
      <pre>
        <code>{`curl -s ${location.origin}/v2/models/${model.name}/infer -d '${body}'`}</code>
      </pre>
      <p class="note">
        Gives {model.outputs.map((one) => `${one.name} ${one.datatype}[${one.shape}]`).join(", ")}.
      </p>
    </section>
  );
}

connect();
const app = document.querySelector("#app");
if (app !== null) {
  app.replaceChildren();
  render(<Page />, app);
}
