// Greedy text completion in JavaScript, with the fine-grained calls; the same text as ../text_completion.py gives.

import { allocEmb, allocKvpage, deallocEmb, getKvpageSize } from "pie:allocate/allocate@1.0.0";
import { createQueue, getFlags, modelFacts, modelNames, output } from "pie:core/runtime@1.0.0";
import { drop } from "pie:core/tickets@1.0.0";
import { forward } from "pie:forward/forward@1.0.0";
import { embedTxt } from "pie:input-text/input-text@1.0.0";
import { getNextDist, getNextDistResult } from "pie:output-text/output-text@1.0.0";
import { detokenize, tokenize } from "pie:tokenize/tokenize@1.0.0";

// A call that is refused throws an object of `code` and `message`.
export function run() {
  try {
    return complete(JSON.parse(getFlags()));
  } catch (error) {
    const { code = "program", message = String(error) } = error.payload ?? error;
    throw { code, message };
  }
}

function complete(flags) {
  const model = modelNames()[0];
  const facts = JSON.parse(modelFacts(model));
  const q = createQueue(model);

  const prompt = tokenize(q, flags.prompt);
  const tokens = facts.bos_token === null ? [...prompt] : [facts.bos_token, ...prompt];
  const start = tokens.length;
  const end = Math.min(start + flags.max_tokens, facts.max_position);
  const pages = allocKvpage(q, Math.ceil(Math.max(start, end) / getKvpageSize(model)));
  const embeds = allocEmb(q, start);
  const last = allocEmb(q, 1);
  embedTxt(q, tokens, [...tokens.keys()], embeds);
  forward(q, [], embeds, pages, last, undefined);
  deallocEmb(q, embeds);

  let shown = "";
  while (tokens.length < end) {
    const token = getNextDistResult(getNextDist(q, last, 1)).ids[0];
    if (facts.eos_tokens.includes(token)) break;
    const position = tokens.push(token) - 1;
    const text = detokenize(q, tokens.slice(start));
    if (!text.endsWith("\uFFFD") && text.length > shown.length) {
      output(text.slice(shown.length));
      shown = text;
    }
    const embedded = embedTxt(q, [token], [position], last);
    drop([embedded, forward(q, pages, last, pages, last, undefined)]);
  }
  output(detokenize(q, tokens.slice(start)).slice(shown.length) + "\n");
}
