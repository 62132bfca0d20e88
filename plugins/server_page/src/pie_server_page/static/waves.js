// The last seconds of the device as a strip, and the same in a table.

import { colour, figure, hue, make, prepare, seconds, setText } from "./dom.js";

const WINDOW_S = 10;

export class Waves {
  #canvas;
  #body;
  #spans = [];
  #traits = new Map(); // to their colours, in the order they came
  #rows = new Map();
  #missed = []; // {now, missed}
  #note;

  constructor(canvas, body, note) {
    this.#note = note;
    this.#canvas = canvas;
    this.#body = body;
  }

  clear() {
    this.#spans = [];
    this.#missed = [];
  }

  /** missed: how many there were besides, too many to be told. */
  add(spans, now, missed) {
    if (missed > 0) this.#missed.push({ now, missed });
    this.#missed = this.#missed.filter((each) => each.now > now - WINDOW_S);
    this.#spans.push(...spans);
    this.#spans = this.#spans.filter(({ end }) => end > now - WINDOW_S);
    for (const { trait } of spans) {
      if (!this.#traits.has(trait)) this.#traits.set(trait, this.#traits.size);
    }
  }

  draw(now) {
    const [context, width, height] = prepare(this.#canvas);
    const steps = layers(this.#spans.filter((span) => span.steps));
    const waves = stacks(this.#spans.filter((span) => !span.steps));
    const highest = Math.max(4, ...[...waves, ...steps].map(({ base, size }) => base + size));
    const x = (time) => width - ((now - time) / WINDOW_S) * width;
    const bar = ({ trait, start, end, size, base }) => {
      context.fillStyle = hue(this.#traits.get(trait));
      const high = (size / highest) * (height - 18);
      const low = height - (base / highest) * (height - 18);
      context.fillRect(x(start), low - high, Math.max(1.5, x(end) - x(start)), high);
    };
    context.globalAlpha = 0.45;
    steps.forEach(bar);
    context.globalAlpha = 1;
    waves.forEach(bar);
    context.fillStyle = colour("--quiet");
    context.font = "12px system-ui, sans-serif";
    context.fillText(`${highest} commands`, 4, 12);
    this.#tabulate();
  }

  #tabulate() {
    const missed = this.#missed.reduce((sum, each) => sum + each.missed, 0);
    setText(this.#note, missed ? `${figure(missed)} more were too many to be told; the picture has gaps.` : "");
    const calls = new Map();
    for (const span of this.#spans) {
      const sum = calls.get(span.call) ?? { ...span, batches: 0, size: 0, weight: 0, time: 0, waited: 0 };
      sum.batches += 1;
      sum.size += span.size;
      sum.weight += span.weight;
      sum.time += span.end - span.start;
      sum.waited = Math.max(sum.waited, span.waited);
      calls.set(span.call, sum);
    }
    for (const [call, { row }] of this.#rows) {
      if (!calls.has(call)) {
        row.remove();
        this.#rows.delete(call);
      }
    }
    for (const [call, sum] of calls) {
      if (!this.#rows.has(call)) this.#add(sum);
      const mean = sum.steps ? "in steps" : figure(sum.size / sum.batches, 1);
      const times = [seconds(sum.time / sum.batches), seconds(sum.waited)];
      const texts = [figure(sum.batches), figure(sum.size), mean, figure(sum.weight), ...times];
      texts.forEach((text, at) => setText(this.#rows.get(call).cells[at], text));
    }
  }

  #add({ call, trait }) {
    const cells = Array.from({ length: 6 }, () => make("td", { className: "number" }));
    const swatch = make("span", { className: "swatch", "aria-hidden": "true" });
    swatch.style.background = hue(this.#traits.get(trait));
    const head = make("th", { scope: "row" }, swatch, call);
    const row = make("tr", {}, head, make("td", {}, trait || "(the server's own)"), ...cells);
    this.#rows.set(call, { row, cells });
    this.#body.append(row);
  }
}

/** The batches of waves, those of one on top of each other. */
function stacks(spans) {
  const tops = new Map();
  return spans.map((span) => {
    const wave = `${span.model} ${span.start}`;
    const base = tops.get(wave) ?? 0;
    tops.set(wave, base + span.size);
    return { ...span, base };
  });
}

/** Commands that ran in steps, as what was running at each time: bars on top of each other, by trait. */
function layers(spans) {
  const changes = spans.flatMap(({ trait, start, end }) => [
    { at: start, trait, by: 1 },
    { at: end, trait, by: -1 },
  ]);
  changes.sort((one, other) => one.at - other.at);
  const running = new Map();
  const bars = [];
  let last = 0;
  for (const { at, trait, by } of changes) {
    let base = 0;
    for (const [which, size] of running) {
      if (size && at > last) bars.push({ trait: which, start: last, end: at, size, base });
      base += size;
    }
    running.set(trait, (running.get(trait) ?? 0) + by);
    last = at;
  }
  return bars;
}
