// What a program says, as it comes; a long text loses its beginning.

import { make } from "./dom.js";

const FLUSH_MS = 50;
const MOST_CHARACTERS = 200000;
const MOST_PIECES = 4000;

export class Output {
  #element;
  #pieces = []; // [kind, text], not shown yet
  #timer = 0;
  #shown = 0;

  constructor(element) {
    this.#element = element;
  }

  clear() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#pieces = [];
    this.#shown = 0;
    this.#element.replaceChildren();
  }

  /** kind: "printed", "message" or "note", which stands on a line of its own. */
  add(kind, text) {
    this.#pieces.push([kind, text]);
    this.#timer ||= setTimeout(() => this.flush(), FLUSH_MS);
  }

  flush() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    const element = this.#element;
    const atEnd = element.scrollHeight - element.scrollTop - element.clientHeight < 40;
    for (const [kind, text] of this.#pieces.splice(0)) this.#show(kind, text);
    this.#trim();
    if (atEnd) element.scrollTop = element.scrollHeight;
  }

  #show(kind, text) {
    this.#shown += text.length;
    const last = this.#element.lastElementChild;
    if (kind === "note") {
      const before = this.#element.textContent;
      const line = before === "" || before.endsWith("\n") ? "" : "\n";
      this.#element.append(make("span", { className: "note" }, `${line}${text}\n`));
    } else if (last?.className === kind) {
      last.append(text);
    } else {
      this.#element.append(make("span", { className: kind }, text));
    }
  }

  #trim() {
    while (this.#shown > MOST_CHARACTERS || this.#element.childElementCount > MOST_PIECES) {
      const first = this.#element.firstElementChild;
      const piece = first.firstChild;
      this.#shown -= piece?.length ?? 0;
      if (first.childNodes.length > 1) piece.remove();
      else first.remove();
    }
  }
}
