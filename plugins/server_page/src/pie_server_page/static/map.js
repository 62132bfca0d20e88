// The live map: asks the server what it does, and has it drawn. A tab that nobody sees asks nothing.

import { byId, figure, setText } from "./dom.js";
import { ask } from "./http.js";
import { InferletTable } from "./inferlets.js";
import { PoolViews } from "./pools.js";
import { Rates } from "./rates.js";
import { Waves } from "./waves.js";
import { absence } from "./words.js";

const EVERY_MS = 400;
const CALM_MS = 2000; // for who wants little motion
const SHARE = 10; // of its time the page asks and draws one part at most

export class LiveMap {
  #shown = false;
  #since = 0;
  #timer = 0;
  #asking = false;
  #rates = new Rates(byId("rates"), byId("rates-caption"));
  #waves = new Waves(byId("waves"), byId("calls").tBodies[0], byId("waves-note"));
  #pools = new PoolViews(byId("pools"));
  #inferlets;

  constructor(connection) {
    this.#inferlets = new InferletTable(byId("inferlets").tBodies[0], byId("inferlets-note"), {
      stop: async (id) => {
        try {
          await connection.request("stop", { id, why: "stopped on the page" });
        } catch (error) {
          setText(byId("map-note"), error.message);
        }
      },
      mark: (id) => this.#pools.mark(id),
    });
    document.addEventListener("visibilitychange", () => this.#schedule(0));
  }

  show(shown) {
    this.#shown = shown;
    this.#schedule(0);
  }

  /** The server may be another one. */
  restart() {
    this.#since = 0;
    this.#rates.clear();
    this.#waves.clear();
    this.#schedule(0);
  }

  #schedule(after) {
    clearTimeout(this.#timer);
    if (this.#shown && !document.hidden) this.#timer = setTimeout(() => this.#look(), after);
  }

  async #look() {
    if (this.#asking) return;
    this.#asking = true;
    const started = performance.now();
    let later = 0;
    try {
      const state = await ask(`/page/state?since=${this.#since}`);
      this.#draw(state);
      this.#since = state.last;
      setText(byId("map-note"), "Live.");
    } catch (error) {
      if (error.status === undefined) throw error;
      later = 1000 * error.later;
      setText(byId("map-note"), absence(error.status, error.message));
    } finally {
      this.#asking = false;
      const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
      this.#schedule(Math.max(later, calm ? CALM_MS : EVERY_MS, SHARE * (performance.now() - started)));
    }
  }

  #draw({ now, books, spans }) {
    const waiting = books.inferlets.filter(({ status }) => status === "waiting").length;
    setText(byId("now-inferlets"), figure(books.inferlets.length - waiting));
    setText(byId("now-waiting"), figure(waiting));
    const { tokens, waves } = this.#rates.add(books);
    setText(byId("now-tokens"), figure(tokens));
    setText(byId("now-waves"), figure(waves));
    this.#rates.draw();
    this.#inferlets.draw(books.inferlets);
    const missed = this.#since && spans.length ? spans[0].number - this.#since - 1 : 0;
    this.#waves.add(spans, now, missed);
    this.#waves.draw(now);
    this.#pools.draw(books.models);
  }
}
