"""Outputs, counters and a picture of the pages about agents: `PYTHONPATH=. python docs/techniques/agents.py`

From the root. Runs what the pages quote, on the bundled model in fp32, and writes it into them: the output below each
`$ pie-core run`, the tables between their marks, the picture beside this file.
"""

from __future__ import annotations

import re
import shlex
import tempfile
import threading
from pathlib import Path

import transformers
from pie_inferlets.tools.server import FACTS, ToolServer, read_facts

from pie_core.application.capabilities import Capabilities
from pie_core.application.wasm.tier import WasmTier
from pie_core.controller import find_model
from pie_core.plugins import Selection
from pie_core.registry import load_registry
from tests.techniques.running import Ran, run
from tests.techniques.test_codeact_agent import HOSTILE, interpret
from tests.techniques.test_react_agent import SYSTEM

HERE = Path(__file__).parent
GRANTED = Capabilities.of(["localhost:8124"], spawn=True)
KEPT, AGAIN = "#2f5fa8", "#b03030"
TOOL_QUESTIONS = [
    "How much do 12 lamps cost?",
    "How warm is it in the capital of Norway?",
    "How old is the bridge?",
]
SWARMS = {
    "three parts": [],
    "four parts": [
        "--question",
        "What is lamp in uppercase, what is the capital of Peru, what is 8 * 7 and what is 40 - 13?",
    ],
}


def main() -> None:
    """All three pages."""
    with ToolServer(("127.0.0.1", 8124), read_facts(FACTS)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            react()
        finally:
            server.shutdown()
            thread.join()
    refresh("codeact_agent", [["what the code tries", "what the agent is told"], *contained()])
    refresh("swarm_agents", [["", "forward passes", "in batches", "tokens"], *swarms()])


def react() -> None:
    """Tokens run by the agent, and by a client that sends the text so far again for each turn."""
    rows, bars = [], []
    for question in TOOL_QUESTIONS:
        kept = execute("react_agent", "--tools", "http://localhost:8124", "--question", question)
        again = [complete(prompt, turn) for prompt, turn in turns_of(question, kept.output)]
        tokens = sum(ran.cost.tokens for ran in again)
        rows.append([question, str(len(again)), str(kept.cost.tokens), str(tokens)])
        bars.append((question, kept.cost.tokens, tokens))
    refresh("react_agent", [["question", "turns", "tokens run, cache kept", "tokens run, text sent again"], *rows])
    (HERE / "react_agent.svg").write_text(picture(bars))


def turns_of(question: str, output: str) -> list[tuple[str, str]]:
    """For each turn the text before it, and what the model said."""
    text, turns = f"<|system|>{SYSTEM}<|user|>{question}<|assistant|>", []
    for stretch in re.split(r"(?<=Observation:)", output):
        observation, _, said = stretch.partition("\n") if turns else ("", "", stretch)
        text += f"{observation}\n" if turns else ""
        turns.append((text, said.rstrip("\n")))
        text += said
    return turns


def complete(prompt: str, turn: str) -> Ran:
    tokenizer = transformers.AutoTokenizer.from_pretrained(find_model("pico", Selection()).path)
    count = len(tokenizer(turn, add_special_tokens=False)["input_ids"])
    ran = run("text_completion", f"--prompt={prompt}", f"--max-tokens={count}")
    assert ran.output == f"{turn}\n", (turn, ran.output)
    return ran


def contained() -> list[list[str]]:
    """Hostile code, and the last line of what came of it."""
    with tempfile.TemporaryDirectory() as directory:
        outputs = interpret(Path(directory), *[code.replace("HERE", "/data") for code in HOSTILE])
    return [
        [quoted(code.replace("HERE", "/data")), quoted(output)] for code, output in zip(HOSTILE, outputs, strict=True)
    ]


def quoted(text: str) -> str:
    """As a cell of a table; of a long text, its last line, and of that the beginning."""
    line = text.replace("\n", "; ") if len(text) < 100 else text.splitlines()[-1]
    line = line.replace("`", "'")
    return f"`{line if len(line) < 120 else line[:110] + '...'}`".replace("|", "\\|")


def swarms() -> list[list[str]]:
    rows = []
    for name, flags in SWARMS.items():
        for how in ([], ["--assign"]):
            cost = execute("swarm_agents", *flags, *how).cost
            what = f"{name}, {'assigned' if how else 'dealt out in turn'}"
            rows.append([what, str(cost.forwards), str(cost.steps), str(cost.tokens)])
    return rows


def execute(name: str, *flags: str) -> Ran:
    traits = list(load_registry(Selection()).traits.values())
    return run(name, *flags, capabilities=GRANTED, sandbox=lambda: WasmTier(traits))


def refresh(name: str, table: list[list[str]]) -> None:
    """Write outputs and table into the page."""
    page = HERE / f"{name}.md"
    text = re.sub(r"\$ pie-core run (.*)\n(?:(?!```|\$ ).*\n)*", printed, page.read_text())
    head, *rows = [f"| {' | '.join(row)} |" for row in table]
    lines = "\n".join([head, "|---" * len(table[0]) + "|", *rows])
    text = re.sub(r"(<!-- counted -->\n)(?:.*\n)*?(<!-- end -->)", lambda found: f"{found[1]}{lines}\n{found[2]}", text)
    page.write_text(text)


def printed(command: re.Match[str]) -> str:
    """A command and what it prints. Options of the server are left out: all is allowed here."""
    server, _, flags = command[1].partition(" -- ")
    (name,) = [word for word in shlex.split(server) if not word.startswith("--") and ":" not in word]
    given = [word.replace("\\n", "\n") for word in shlex.split(flags.replace("$'", "'"))]
    return f"$ pie-core run {command[1]}\n{execute(name, *given).output}"


def picture(bars: list[tuple[str, int, int]]) -> str:
    """An SVG of two bars for each question."""
    wide, most = 420, max(again for _, _, again in bars)
    parts = [f'<rect width="{wide}" height="{50 * len(bars) + 25}" fill="#fff"/>']
    parts.append(f'<text x="10" y="14" fill="{KEPT}">tokens run, cache kept</text>')
    parts.append(f'<text x="180" y="14" fill="{AGAIN}">tokens run, text sent again</text>')
    for number, (question, kept, again) in enumerate(bars):
        top = 34 + 50 * number
        parts.append(f'<text x="10" y="{top}" fill="#222">{question}</text>')
        for place, (count, color) in enumerate(((kept, KEPT), (again, AGAIN))):
            y, length = top + 5 + 13 * place, 340 * count / most
            parts.append(f'<rect x="10" y="{y}" width="{length:.0f}" height="11" fill="{color}"/>')
            parts.append(f'<text x="{length + 16:.0f}" y="{y + 9}" fill="{color}">{count}</text>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {50 * len(bars) + 25}"'
    return "\n".join([f'{head} font-family="monospace" font-size="10">', *parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    main()
