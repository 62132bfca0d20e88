// The pools as pictures: a cell for each resource in the colour of who holds it, and the same in a table.

import { colour, figure, hue, make, prepare, setText } from "./dom.js";

const FREE = -1;
const IN_USE = -2;
const EXPORTED = -3;
const OTHERS = -4;
const NAMES = new Map([
  [FREE, "free"],
  [IN_USE, "freed, still used by a command"],
  [EXPORTED, "exported, held by nobody else"],
  [OTHERS, "of other users"],
]);
const TITLES = { kvpage: "Pages of KV cache", embed: "Embeds" };
const MOST_ROWS = 50;

export class PoolViews {
  #element;
  #views = new Map();
  #marked = null;
  #colours = new Map(); // by inferlet: the same in all pools, as long as the page is open
  #models = [];

  constructor(element) {
    this.#element = element;
  }

  /** The inferlet whose cells stand out; null: none. */
  mark(id) {
    this.#marked = id;
    this.draw(this.#models);
  }

  draw(models) {
    this.#models = models;
    const seen = new Set();
    for (const model of models) {
      for (const pool of model.pools.filter(({ host }) => !host)) {
        const name = `${model.name}, ${TITLES[pool.kind] ?? pool.kind}`;
        seen.add(name);
        if (!this.#views.has(name)) this.#views.set(name, this.#add(name));
        this.#drawOne(this.#views.get(name), name, pool);
      }
    }
    for (const [name, { section }] of this.#views) {
      if (!seen.has(name)) {
        section.remove();
        this.#views.delete(name);
      }
    }
  }

  #add(name) {
    const canvas = make("canvas", { role: "img", "aria-label": `${name}; the table below says the same` });
    const caption = make("figcaption");
    const body = make("tbody");
    const head = ["Holder", "Held", "Shared"].map((text, at) =>
      make("th", { scope: "col", className: at ? "number" : "" }, text),
    );
    const table = make("table", {}, make("thead", {}, make("tr", {}, ...head)), body);
    const scroll = make("div", { className: "scroll", role: "region", tabIndex: 0, "aria-label": `Holders: ${name}` });
    scroll.append(table);
    const section = make("div", {}, make("h3", {}, name), make("figure", {}, canvas, caption), scroll);
    this.#element.append(section);
    return { section, canvas, caption, body, rows: new Map() };
  }

  #drawOne(view, name, { capacity, free, draining, wanted, owners, runs }) {
    const cell = Math.max(3, Math.min(14, Math.floor(Math.sqrt((view.section.clientWidth * 160) / capacity))));
    const columns = Math.max(1, Math.floor(view.section.clientWidth / cell) - 1);
    view.canvas.style.height = `${Math.ceil(capacity / columns) * cell + 4}px`;
    const [context] = prepare(view.canvas);
    const held = new Map();
    let index = 0;
    for (const [count, owner, holders] of runs) {
      const id = owner >= 0 ? owners[owner] : owner;
      const sum = held.get(id) ?? { held: 0, shared: 0 };
      sum.held += count;
      sum.shared += holders > 1 ? count : 0;
      held.set(id, sum);
      const faint = this.#marked !== null && id !== this.#marked;
      for (const end = index + count; index < end; index++) {
        const x = (index % columns) * cell + 2;
        const y = Math.floor(index / columns) * cell + 2;
        context.globalAlpha = faint && id !== FREE ? 0.2 : 1;
        context.fillStyle = this.#colour(id);
        context.fillRect(x, y, cell - 1, cell - 1);
        if (holders > 1) {
          context.fillStyle = colour("--back");
          context.fillRect(x + cell / 4, y + cell / 4, Math.max(1, cell / 3), Math.max(1, cell / 3));
        }
      }
    }
    context.globalAlpha = 1;
    const used = capacity - free;
    const waits = wanted ? ` ${figure(wanted)} more are waited for.` : "";
    const drains = draining ? ` ${figure(draining)} come back when commands are done.` : "";
    const cells = " A cell with a hole is shared.";
    setText(view.caption, `${figure(used)} of ${figure(capacity)} are in use.${waits}${drains}${cells}`);
    this.#tabulate(view, held);
  }

  #colour(id) {
    if (id === FREE) return colour("--free");
    if (typeof id === "number") return colour("--busy");
    if (!this.#colours.has(id)) this.#colours.set(id, this.#colours.size);
    return hue(this.#colours.get(id));
  }

  #tabulate({ body, rows }, held) {
    const shown = [...held].sort(([, one], [, other]) => other.held - one.held).slice(0, MOST_ROWS);
    const ids = new Set(shown.map(([id]) => id));
    for (const [id, { row }] of rows) {
      if (!ids.has(id)) {
        row.remove();
        rows.delete(id);
      }
    }
    for (const [id, sum] of shown) {
      if (!rows.has(id)) {
        const cells = [make("td", { className: "number" }), make("td", { className: "number" })];
        const swatch = make("span", { className: "swatch", "aria-hidden": "true" });
        swatch.style.background = this.#colour(id);
        const row = make("tr", {}, make("th", { scope: "row" }, swatch, NAMES.get(id) ?? id), ...cells);
        rows.set(id, { row, cells });
        body.append(row);
      }
      const { cells } = rows.get(id);
      setText(cells[0], figure(sum.held));
      setText(cells[1], figure(sum.shared));
    }
  }
}
