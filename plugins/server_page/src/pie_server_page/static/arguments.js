// The arguments of a launch: a field for each flag that the program declares, and a line for what else there is.

import { make } from "./dom.js";

const named = (flag) => `flag-${flag.name}`;

/** Fields for the flags of a program, in a fieldset that has a legend. */
export function showFlags(fieldset, flags) {
  fieldset.replaceChildren(fieldset.querySelector("legend"), ...flags.map(field));
  fieldset.hidden = flags.length === 0;
}

function field(flag) {
  const id = named(flag);
  const help = make("p", { id: `${id}-help`, className: "help" }, flag.help);
  if (flag.kind === "switch") {
    const box = make("input", { id, type: "checkbox", checked: flag.default, "aria-describedby": help.id });
    const label = make("label", { htmlFor: id }, `--${flag.name}`);
    return make("div", {}, make("div", { className: "switch" }, box, label), help);
  }
  const more = flag.kind === "text" ? {} : { inputMode: flag.kind === "number" ? "decimal" : "text" };
  const input = make("input", { id, type: "text", spellcheck: false, placeholder: String(flag.default), ...more });
  input.setAttribute("aria-describedby", help.id);
  return make("div", {}, make("label", { htmlFor: id }, `--${flag.name}`), input, help);
}

/** The words for the flags whose value is not the default, then those of the line. */
export function readArguments(fieldset, flags, line) {
  const words = [];
  for (const flag of flags) {
    const input = fieldset.querySelector(`#${CSS.escape(named(flag))}`);
    if (flag.kind === "switch") {
      if (input.checked !== flag.default) words.push(`--${input.checked ? "" : "no-"}${flag.name}`);
    } else if (input.value !== "") {
      words.push(`--${flag.name}=${input.value}`);
    }
  }
  return [...words, ...split(line)];
}

/** The words of a command line; quotes keep spaces, a backslash keeps the next character. */
export function split(line) {
  const words = [];
  let word = null;
  let quote = "";
  for (let at = 0; at < line.length; at++) {
    const sign = line[at];
    if (sign === "\\" && quote !== "'" && at + 1 < line.length) word = (word ?? "") + line[++at];
    else if (quote) {
      if (sign === quote) quote = "";
      else word += sign;
    } else if (sign === '"' || sign === "'") {
      quote = sign;
      word ??= "";
    } else if (/\s/.test(sign)) {
      if (word !== null) words.push(word);
      word = null;
    } else word = (word ?? "") + sign;
  }
  if (quote) throw new Error(`A ${quote} of the arguments is not closed.`);
  return word === null ? words : [...words, word];
}

/** A file as base64. */
export async function encode(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const parts = [];
  for (let at = 0; at < bytes.length; at += 0x8000) {
    parts.push(String.fromCharCode(...bytes.subarray(at, at + 0x8000)));
  }
  return btoa(parts.join(""));
}
