// A pad to draw a digit on. The drawing goes through the real endpoint, like any client's request.

import { useEffect, useRef, useState } from "preact/hooks";
import type { ExampleDigits, ModelCard } from "../../src/dashboard/api.ts";
import { toDigit } from "./digit.ts";
import { milliseconds, percent, softmax } from "./format.ts";
import { fetchJson } from "./state.ts";

const PAD = 200;
const STROKE = 24;

/** The answer of the model, or why there is none. */
type Answer =
  | { readonly kind: "classes"; readonly shares: readonly number[]; readonly ms: number }
  | { readonly kind: "error"; readonly text: string };

/** The drawing pad with its answer. */
export function Draw({ model }: { model: ModelCard }) {
  const pad = useRef<HTMLCanvasElement>(null);
  const [pixels, setPixels] = useState<readonly number[]>();
  const [answer, setAnswer] = useState<Answer>();
  const ask = (digit: readonly number[] | undefined) => {
    setPixels(digit);
    if (digit === undefined) setAnswer(undefined);
    else void classify(model, digit).then(setAnswer);
  };
  usePen(pad, () => ask(readPad(pad.current)));
  const clear = () => {
    wipe(pad.current);
    ask(undefined);
  };
  return (
    <section aria-labelledby="draw-title">
      <h2 id="draw-title">
        Draw a digit <small>answered by POST /v2/models/{model.name}/infer</small>
      </h2>
      <div class="draw">
        <div class="side">
          <canvas
            ref={pad}
            class="pad"
            width={PAD}
            height={PAD}
            tabIndex={0}
            aria-label="Drawing pad. Without a pointer, choose one of the examples."
          />
          <button type="button" onClick={clear}>
            Clear
          </button>
        </div>
        <div class="side">
          <span class="note">what the model sees</span>
          <Pixels pixels={pixels} class="seen" />
          <span class="answer" aria-live="polite" data-testid="answer">
            {answer?.kind === "classes" ? bestOf(answer.shares) : "–"}
          </span>
          {answer?.kind === "classes" && <span class="note">in {milliseconds(answer.ms)}</span>}
          {answer?.kind === "error" && <span class="badge bad">{answer.text}</span>}
        </div>
        {answer?.kind === "classes" && <Bars shares={answer.shares} />}
      </div>
      <Examples
        choose={(digit) => {
          wipe(pad.current);
          ask(digit);
        }}
      />
    </section>
  );
}

async function classify(model: ModelCard, digit: readonly number[]): Promise<Answer> {
  const [input] = model.inputs;
  const body = JSON.stringify({
    inputs: [{ name: input?.name, shape: [1, 1, 8, 8], datatype: "FP32", data: digit }],
  });
  const from = performance.now();
  try {
    const path = `/v2/models/${encodeURIComponent(model.name)}/versions/${model.version}/infer`;
    const response = await fetch(path, { method: "POST", body });
    // A response of the Open Inference Protocol, or its error document.
    const document = (await response.json()) as {
      readonly outputs?: readonly { readonly data: readonly number[] }[];
      readonly error?: string;
    };
    const scores = document.outputs?.[0]?.data;
    if (scores === undefined) return { kind: "error", text: document.error ?? "no answer" };
    return { kind: "classes", shares: softmax(scores), ms: performance.now() - from };
  } catch {
    return { kind: "error", text: "the server does not answer" };
  }
}

function bestOf(shares: readonly number[]): number {
  return shares.indexOf(Math.max(...shares));
}

function Bars({ shares }: { shares: readonly number[] }) {
  return (
    <div class="bars" role="img" aria-label="Probability of each digit">
      {shares.map((share, digit) => (
        <>
          <span>{digit}</span>
          <span class="track">
            <div class="fill" style={{ width: `${100 * share}%` }} />
          </span>
          <span>{percent(share)}</span>
        </>
      ))}
    </div>
  );
}

function Examples({ choose }: { choose: (digit: readonly number[]) => void }) {
  const [examples, setExamples] = useState<ExampleDigits>();
  useEffect(() => {
    void fetchJson<ExampleDigits>("/api/v1/examples").then(setExamples);
  }, []);
  if (examples === undefined) return null;
  return (
    <>
      <p class="note">
        The writers of the digits that it learned from crossed their 7s and gave their 1s a serif.
        Or take one that the model never saw:
      </p>
      <div class="examples">
        {examples.digits.map(({ label, pixels }) => (
          <button
            type="button"
            aria-label={`a handwritten ${label}`}
            onClick={() => choose(pixels)}
          >
            <Pixels pixels={pixels} />
          </button>
        ))}
      </div>
    </>
  );
}

/** An 8x8 image, ink dark on white. */
function Pixels(props: { pixels: readonly number[] | undefined; class?: string }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  useEffect(() => {
    const context = canvas.current?.getContext("2d");
    if (!context) return;
    const image = context.createImageData(8, 8);
    for (let i = 0; i < 64; i++) {
      const shade = 255 * (1 - (props.pixels?.[i] ?? 0));
      image.data.set([shade, shade, shade, 255], 4 * i);
    }
    context.putImageData(image, 0, 0);
  }, [props.pixels]);
  return <canvas ref={canvas} width={8} height={8} class={props.class ?? ""} />;
}

/** Draws with the pointer; calls back when a stroke ends. */
function usePen(pad: { readonly current: HTMLCanvasElement | null }, done: () => void): void {
  const latest = useRef(done);
  latest.current = done;
  useEffect(() => {
    const canvas = pad.current;
    const context = canvas?.getContext("2d");
    if (!canvas || !context) return;
    context.lineWidth = STROKE;
    context.lineCap = "round";
    context.lineJoin = "round";
    const point = (event: PointerEvent): [number, number] => {
      const box = canvas.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    const begin = (event: PointerEvent): void => {
      canvas.setPointerCapture(event.pointerId);
      context.beginPath();
      context.moveTo(...point(event));
      context.lineTo(...point(event));
      context.stroke();
    };
    const move = (event: PointerEvent): void => {
      if (!canvas.hasPointerCapture(event.pointerId)) return;
      context.lineTo(...point(event));
      context.stroke();
    };
    const end = (): void => latest.current();
    canvas.addEventListener("pointerdown", begin);
    canvas.addEventListener("pointermove", move);
    canvas.addEventListener("pointerup", end);
    return () => {
      canvas.removeEventListener("pointerdown", begin);
      canvas.removeEventListener("pointermove", move);
      canvas.removeEventListener("pointerup", end);
    };
  }, [pad]);
}

function wipe(canvas: HTMLCanvasElement | null): void {
  canvas?.getContext("2d")?.clearRect(0, 0, PAD, PAD);
}

function readPad(canvas: HTMLCanvasElement | null): number[] | undefined {
  const context = canvas?.getContext("2d");
  if (!context) return undefined;
  const { data } = context.getImageData(0, 0, PAD, PAD);
  const ink = Float32Array.from({ length: PAD * PAD }, (_, i) => (data[4 * i + 3] ?? 0) / 255);
  return toDigit({ width: PAD, height: PAD, ink });
}
