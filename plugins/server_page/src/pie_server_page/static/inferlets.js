// What runs, as a table whose rows stay the same elements, so that a thousand of them cost little.

import { figure, make, setText } from "./dom.js";

const MOST_ROWS = 1000;

export class InferletTable {
  #body;
  #note;
  #rows = new Map(); // by id: {row, cells}
  #actions;
  #marked = null;

  /** actions: {stop(id), mark(id)}; mark(null): none is to stand out. */
  constructor(body, note, actions) {
    this.#body = body;
    this.#note = note;
    this.#actions = actions;
    body.addEventListener("click", (event) => this.#clicked(event));
  }

  draw(inferlets) {
    const shown = inferlets.slice(0, MOST_ROWS);
    const ids = new Set(shown.map(({ id }) => id));
    for (const [id, { row }] of this.#rows) {
      if (!ids.has(id)) {
        row.remove();
        this.#rows.delete(id);
        if (id === this.#marked) this.#mark(null);
      }
    }
    const fresh = document.createDocumentFragment();
    for (const inferlet of shown) {
      if (!this.#rows.has(inferlet.id)) fresh.append(this.#add(inferlet.id));
      const { cells } = this.#rows.get(inferlet.id);
      texts(inferlet).forEach((text, at) => setText(cells[at], text));
    }
    this.#body.append(fresh);
    const more = inferlets.length - shown.length;
    setText(this.#note, more ? `${figure(more)} more are not shown.` : shown.length ? "" : "Nothing runs.");
  }

  #add(id) {
    const head = make("th", { scope: "row" }, id);
    const cells = Array.from({ length: 7 }, (_, at) => make("td", { className: at < 2 ? "" : "number" }));
    const mark = make("button", { type: "button", "data-mark": id, "aria-pressed": "false" }, "Show pages");
    mark.setAttribute("aria-label", `Show the pages of ${id}`);
    const stop = make("button", { type: "button", "data-stop": id, "aria-label": `Stop ${id}` }, "Stop");
    const row = make("tr", {}, head, ...cells, make("td", {}, mark, " ", stop));
    this.#rows.set(id, { row, cells, mark });
    return row;
  }

  #clicked({ target }) {
    if (target.dataset.stop) this.#actions.stop(target.dataset.stop);
    else if (target.dataset.mark) this.#mark(target.dataset.mark === this.#marked ? null : target.dataset.mark);
  }

  #mark(id) {
    this.#rows.get(this.#marked)?.mark.setAttribute("aria-pressed", "false");
    this.#rows.get(id)?.mark.setAttribute("aria-pressed", "true");
    this.#marked = id;
    this.#actions.mark(id);
  }
}

function texts({ program, status, seconds, held, unbound, queues, commands, parent }) {
  const count = (kind) => {
    const away = unbound[kind] ?? 0;
    return `${figure(held[kind] ?? 0)}${away ? ` (${figure(away)} not there)` : ""}`;
  };
  const name = parent ? `${program}, child of ${parent}` : program;
  return [name, status, figure(seconds, 1), count("kvpage"), count("embed"), figure(queues), figure(commands)];
}
