// The tree of what a program has had computed, as nested lists.

import { Refused, ask } from "./http.js";
import { byId, figure, make, setText } from "./dom.js";

const MOST_BRANCHES = 400;
const EVERY_MS = 500;
const TWIG = 3; // tokens

/** Shows the tree of one inferlet after the other, while it grows. */
export class TreeView {
  #element;
  #note;
  #told;
  #last = "";
  #tree = null;
  #asked = 0;
  #shown = 0;
  #id = null;
  #timer = 0;

  /** told(tree): what the server says, each time it says something else. */
  constructor(element, note, told) {
    this.#element = element;
    this.#note = note;
    this.#told = told;
  }

  clear() {
    this.#id = null;
    clearTimeout(this.#timer);
    this.#last = "";
    this.#tree = null;
    this.#element.replaceChildren();
  }

  /** Follow an inferlet until `finish`. */
  follow(id) {
    this.#id = id;
    this.#look(id);
  }

  /** The last look: it has ended. */
  async finish() {
    const id = this.#id;
    clearTimeout(this.#timer);
    if (id !== null) await this.#read(id);
    if (id === this.#id) this.#id = null;
  }

  async #look(id) {
    const started = performance.now();
    const later = document.hidden ? 0 : await this.#read(id);
    const took = performance.now() - started;
    const wait = Math.max(EVERY_MS, 1000 * later, 10 * took);
    if (id === this.#id) this.#timer = setTimeout(() => this.#look(id), wait);
  }

  /** How many seconds the server wants to be left alone. */
  async #read(id) {
    const number = ++this.#asked;
    let tree;
    try {
      tree = await ask(`/page/trees/${encodeURIComponent(id)}`);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      return error.later; // what is wrong, the connection tells
    }
    const text = JSON.stringify(tree);
    if (id !== this.#id || number < this.#shown || text === this.#last || !tree.noted) return 0;
    this.#shown = number; // an answer that comes late must not replace a newer one
    this.#last = text;
    this.#told(tree);
    this.#draw(tree);
    return 0;
  }

  /** Again, after what is to be left out has changed. */
  redraw() {
    if (this.#tree) this.#draw(this.#tree);
  }

  #draw(tree) {
    this.#tree = tree;
    const kept = byId("twigs").checked ? withoutTwigs(tree.branches) : tree.branches;
    const shown = kept.slice(0, MOST_BRANCHES);
    const items = shown.map(item);
    const root = make("ul");
    shown.forEach(({ after }, at) => {
      if (after < 0) root.append(items[at]);
      else {
        if (items[after].lastChild.nodeName !== "UL") items[after].append(make("ul"));
        items[after].lastChild.append(items[at]);
      }
    });
    this.#element.replaceChildren(...(shown.length ? [root] : []));
    const parts = [`${figure(tree.branches.length)} stretches of text, ${figure(shown.length)} shown.`];
    if (!tree.complete) parts.push("The program has computed more than is noted.");
    setText(this.#note, parts.join(" "));
  }
}

/** Branches without short ends beside longer ones, which are drafts and guesses mostly. */
function withoutTwigs(branches) {
  const followers = branches.map(() => []);
  branches.forEach(({ after }, at) => followers[after]?.push(at));
  const short = (at) => followers[at].length === 0 && branches[at].tokens <= TWIG;
  const kept = [];
  const walk = [...branches.keys()].filter((at) => branches[at].after < 0).map((at) => [at, -1]);
  walk.reverse();
  while (walk.length) {
    let [at, after] = walk.pop();
    const branch = { ...branches[at], after };
    let next = below(at);
    while (next.length === 1) {
      [at] = next;
      branch.text += branches[at].text;
      branch.tokens += branches[at].tokens;
      branch.computed += branches[at].computed;
      next = below(at);
    }
    after = kept.push(branch) - 1;
    walk.push(...next.reverse().map((follower) => [follower, after]));
  }
  return kept;

  function below(at) {
    const long = followers[at].filter((follower) => !short(follower));
    return long.length ? long : followers[at];
  }
}

function item({ text, tokens, computed }) {
  const again = computed > tokens ? `, ${figure(computed)} runs` : "";
  const count = `${figure(tokens)} ${tokens === 1 ? "token" : "tokens"}${again}`;
  return make("li", {}, make("span", { className: "text" }, text), " ", make("span", { className: "count" }, count));
}
