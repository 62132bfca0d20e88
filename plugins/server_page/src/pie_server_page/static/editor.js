// A text area for Python: line numbers, indentation by Tab, and a way out for who uses the keyboard.

import { setText } from "./dom.js";

const INDENT = "    ";

export class Editor {
  #area;
  #gutter;
  #lines = 0;
  #leaving = false; // Escape was pressed: the next Tab moves on

  /** changed(): the text is another one. */
  constructor(area, gutter, changed) {
    this.#area = area;
    this.#gutter = gutter;
    area.addEventListener("input", () => {
      this.#number();
      changed();
    });
    area.addEventListener("scroll", () => (gutter.scrollTop = area.scrollTop));
    area.addEventListener("keydown", (event) => this.#press(event));
    area.addEventListener("blur", () => (this.#leaving = false));
  }

  get text() {
    return this.#area.value;
  }

  set text(text) {
    this.#area.value = text;
    this.#area.setSelectionRange(0, 0);
    this.#area.scrollTop = 0;
    this.#number();
  }

  #press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.key === "Tab" && !this.#leaving) {
      event.preventDefault();
      if (event.shiftKey) this.#outdent();
      else this.#indent();
    } else if (event.key === "Enter") {
      event.preventDefault();
      const line = this.#before().replace(/^[^]*\n/, "");
      const deeper = line.trimEnd().endsWith(":") ? INDENT : "";
      this.#type(`\n${line.match(/^ */)[0]}${deeper}`);
    }
    this.#leaving = event.key === "Escape" || (this.#leaving && event.key === "Shift");
  }

  #before() {
    return this.#area.value.slice(0, this.#area.selectionStart);
  }

  #indent() {
    const { selectionStart: from, selectionEnd: to } = this.#area;
    if (this.#area.value.slice(from, to).includes("\n")) this.#eachLine((line) => (line ? INDENT + line : line));
    else this.#type(INDENT.slice((from - this.#lineStart()) % INDENT.length));
  }

  #outdent() {
    this.#eachLine((line) => line.replace(/^ {1,4}/, ""));
  }

  #lineStart() {
    return this.#before().lastIndexOf("\n") + 1;
  }

  #eachLine(change) {
    const start = this.#lineStart();
    const { value, selectionEnd } = this.#area;
    const next = value.indexOf("\n", selectionEnd);
    const end = next < 0 ? value.length : next;
    const old = value.slice(start, end);
    const changed = old.split("\n").map(change).join("\n");
    if (changed === old) return;
    this.#area.setSelectionRange(start, end);
    this.#type(changed);
    this.#area.setSelectionRange(old.includes("\n") ? start : start + changed.length, start + changed.length);
  }

  /** As if it were typed, so that it can be undone. */
  #type(text) {
    if (!document.execCommand("insertText", false, text)) {
      const { selectionStart, selectionEnd } = this.#area;
      this.#area.setRangeText(text, selectionStart, selectionEnd, "end");
      this.#area.dispatchEvent(new Event("input"));
    }
  }

  #number() {
    const lines = this.#area.value.split("\n").length;
    if (lines === this.#lines) return;
    this.#lines = lines;
    setText(this.#gutter, Array.from({ length: lines }, (_, at) => at + 1).join("\n"));
    this.#gutter.scrollTop = this.#area.scrollTop;
  }
}
