// Throughput over the last minute, from totals of the server.

import { colour, figure, prepare, setText } from "./dom.js";

const WINDOW_S = 60;
const NOW_S = 3; // the time over which "now" is taken

export class Rates {
  #canvas;
  #caption;
  #points = []; // {time, tokens, waves}: totals

  constructor(canvas, caption) {
    this.#canvas = canvas;
    this.#caption = caption;
  }

  clear() {
    this.#points = [];
  }

  /** Takes in the books; {tokens, waves} per second, now. */
  add({ time, models }) {
    const total = (name) => models.reduce((sum, model) => sum + model[name], 0);
    if (this.#points.at(-1)?.time !== time) this.#points.push({ time, tokens: total("tokens"), waves: total("waves") });
    while (this.#points.length > 2 && this.#points[1].time < time - WINDOW_S) this.#points.shift();
    const last = this.#points.at(-1);
    const first = this.#points.findLast((point) => point.time <= last.time - NOW_S) ?? this.#points[0];
    const passed = last.time - first.time || 1;
    return { tokens: (last.tokens - first.tokens) / passed, waves: (last.waves - first.waves) / passed };
  }

  draw() {
    const [context, width, height] = prepare(this.#canvas);
    const points = this.#points;
    const rates = points.slice(1).map(({ time, tokens }, at) => ({
      from: points[at].time,
      to: time,
      rate: (tokens - points[at].tokens) / (time - points[at].time),
    }));
    const highest = Math.max(1, ...rates.map(({ rate }) => rate));
    const end = points.at(-1)?.time ?? 0;
    const x = (time) => width - ((end - time) / WINDOW_S) * width;
    context.fillStyle = colour("--accent");
    for (const { from, to, rate } of rates) {
      const high = (rate / highest) * (height - 4);
      context.fillRect(x(from), height - high, Math.max(1, x(to) - x(from)), high);
    }
    const last = rates.at(-1)?.rate ?? 0;
    const text = `Tokens per second, the last minute: ${figure(last)} now, at most ${figure(rates.length ? highest : 0)}.`;
    setText(this.#caption, text);
  }
}
