// Pick or edit a program, run it, see what it says.

import { encode, readArguments, showFlags } from "./arguments.js";
import { byId, figure, make, seconds, setText } from "./dom.js";
import { Editor } from "./editor.js";
import { ask } from "./http.js";
import { Output } from "./output.js";
import { TreeView } from "./tree.js";
import { ENDINGS, explain } from "./words.js";

const NEW = "";
const SCRATCH = `from inferlet import get_auto_model


async def main():
    with get_auto_model().create_context() as context:
        await context.fill("The capital of")
        for country in ("France", "Japan", "Chile"):
            branch = context.fork()  # shares the pages of what was filled
            await branch.fill(f" {country} is")
            print(country + ":", await branch.generate_until(max_token=8, stop="."))
`;
const FIRST = "text_completion"; // what is picked, if it is there

export class Playground {
  #connection;
  #programs = new Map();
  #picked = null; // {name, source, flags}
  #run = null; // {id, since, first}
  #launching = false;
  #output = new Output(byId("output"));
  #tree = new TreeView(byId("tree"), byId("tree-note"), (tree) => this.#showTree(tree));
  #editor = new Editor(byId("source"), byId("gutter"), () => this.#mark());

  constructor(connection) {
    this.#connection = connection;
    byId("program").addEventListener("change", () => this.#pick(byId("program").value));
    byId("twigs").addEventListener("change", () => this.#tree.redraw());
    byId("restore").addEventListener("click", () => this.#restore());
    byId("launch").addEventListener("submit", (event) => this.#submitted(event, () => this.#launch()));
    byId("delivery").addEventListener("submit", (event) => this.#submitted(event, () => this.#deliver()));
    byId("stop").addEventListener("click", () => this.#stop());
    byId("launch").addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.#submitted(event, () => this.#launch());
    });
    this.#buttons();
  }

  /** Read the list of programs, unless it is there. */
  async load() {
    if (this.#programs.size) return;
    let found;
    try {
      found = (await ask("/page/programs")).programs;
    } catch (error) {
      this.#complain(error);
      return;
    }
    this.#complain(null);
    this.#programs = new Map(found.map((program) => [program.name, program]));
    const names = found.map(({ name }) => make("option", { value: name }, name));
    byId("program").replaceChildren(...names, make("option", { value: NEW }, "(a new program)"));
    byId("program").value = this.#programs.has(FIRST) ? FIRST : (found[0]?.name ?? NEW);
    await this.#pick(byId("program").value);
  }

  async #pick(name) {
    const program = this.#programs.get(name);
    const { description, flags, problem } = program ?? { description: "Write your own.", flags: [], problem: "" };
    setText(byId("description"), problem || description);
    showFlags(byId("flags"), flags);
    this.#picked = { name, flags, source: SCRATCH };
    if (program) {
      try {
        const { source } = await ask(`/page/programs/${encodeURIComponent(name)}`);
        if (this.#picked.name !== name) return; // another one was picked meanwhile
        this.#picked.source = source;
      } catch (error) {
        this.#complain(error);
        return;
      }
    }
    this.#restore();
  }

  #restore() {
    this.#editor.text = this.#picked.source;
    this.#mark();
  }

  get #edited() {
    return this.#picked !== null && this.#editor.text !== this.#picked.source;
  }

  #mark() {
    byId("edited").hidden = byId("restore").hidden = !this.#edited;
  }

  #submitted(event, act) {
    event.preventDefault();
    act();
  }

  async #launch() {
    if (this.#run !== null || this.#launching || this.#picked === null) return;
    this.#complain(null);
    this.#launching = true;
    this.#buttons();
    setText(byId("run-status"), "Starting…");
    try {
      const { name, flags } = this.#picked;
      const given = readArguments(byId("flags"), flags, byId("more").value);
      const blobs = await Promise.all([...byId("blobs").files].map(encode));
      const own = this.#edited || name === NEW;
      const what = own ? { name: name || "new", filename: `${name || "new"}.py`, source: this.#editor.text } : { name };
      await ask("/page/state"); // so that the server notes what the program has computed from its beginning on
      const since = performance.now();
      const { id } = await this.#connection.request("launch", { ...what, arguments: given, blobs });
      this.#started(id, since);
    } catch (error) {
      setText(byId("run-status"), "Not started.");
      this.#complain(error);
    } finally {
      this.#launching = false;
      this.#buttons();
    }
  }

  #started(id, since) {
    this.#run = { id, since, first: null };
    this.#output.clear();
    for (const fact of ["first", "token", "tokens", "time"]) setText(byId(`fact-${fact}`), "–");
    setText(byId("run-status"), `Running, as ${id}`);
    this.#tree.clear();
    this.#tree.follow(id);
    this.#connection.listen(id, (event) => this.#take(event));
  }

  #take(event) {
    const run = this.#run;
    if (event === null) {
      this.#ended("Lost", "The connection broke; the server stops what was launched over it.");
    } else if (event.type === "ended") {
      const { status, value, code, error } = event;
      if (value) this.#output.add("note", `returned: ${value}`);
      this.#ended(ENDINGS[status], null);
      if (status === "failed") this.#showTraceback(error);
      else if (status === "terminated") this.#complain({ code, message: error });
    } else {
      if (run.first === null) {
        run.first = performance.now() - run.since;
        setText(byId("fact-first"), seconds(run.first / 1000));
      }
      if (event.type === "output") this.#output.add("printed", event.text);
      else if (event.type === "message") this.#output.add("message", event.text);
      else this.#output.add("note", `a blob of ${figure(Math.floor((event.data.length * 3) / 4))} bytes`);
    }
  }

  #ended(how, why) {
    const took = (performance.now() - this.#run.since) / 1000;
    this.#run = null;
    this.#output.flush();
    this.#tree.finish();
    setText(byId("run-status"), `${how} after ${seconds(took)}.`);
    setText(byId("fact-time"), seconds(took));
    if (why) this.#complain({ code: "away", message: why });
    this.#buttons();
  }

  async #stop() {
    try {
      await this.#connection.request("stop", { id: this.#run.id, why: "stopped on the page" });
    } catch (error) {
      this.#complain(error);
    }
  }

  async #deliver() {
    const text = byId("message").value;
    if (this.#run === null) return;
    try {
      await this.#connection.request("deliver", { id: this.#run.id, text });
      this.#output.add("note", `you: ${text}`);
      byId("message").value = "";
    } catch (error) {
      this.#complain(error);
    }
  }

  #showTree({ tokens, first_token_s: first, complete }) {
    setText(byId("fact-tokens"), `${figure(tokens)}${complete ? "" : " or more"}`);
    if (first !== null) setText(byId("fact-token"), seconds(first));
  }

  #buttons() {
    const busy = this.#run !== null || this.#launching;
    byId("run").disabled = busy;
    byId("stop").disabled = byId("message").disabled = byId("deliver").disabled = this.#run === null;
  }

  #showTraceback(error) {
    byId("problem").replaceChildren("The program failed:", make("pre", {}, error ?? "It says nothing."));
  }

  #complain(error) {
    const text = error === null ? "" : explain(error.code, error.message);
    setText(byId("problem"), text);
  }
}
