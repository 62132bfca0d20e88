"""Going on with a long text through a window, against transformers with full attention and with a sliding window.

transformers slides a window for models that are made so: the same weights as a Mistral, whose cache keeps the window.
Full attention may answer differently.
"""

from typing import Any

import transformers

from techniques.bench import Bench
from techniques.form import Baseline, Technique

PROMPT = ", ".join(map(str, range(1, 260)))
WINDOW, TOKENS = 32, 64


async def ours(bench: Bench, clients: int) -> list[str]:
    flags = [f"--prompt={PROMPT}", f"--window={WINDOW}", f"--max-tokens={TOKENS}"]
    told = await bench.run("windowed_attention", [flags] * clients)
    return [text.removeprefix(PROMPT).rpartition("\n[")[0] for text in told]


async def full(bench: Bench, clients: int) -> list[str]:
    return bench.generate([PROMPT] * clients, TOKENS)


class Sliding:
    """The model as a Mistral."""

    def __init__(self) -> None:
        self._model: Any = None

    async def __call__(self, bench: Bench, clients: int) -> list[str]:
        if self._model is None:
            config = bench.transformer.config.to_dict() | {"model_type": "mistral", "sliding_window": WINDOW}
            self._model = transformers.MistralForCausalLM(transformers.MistralConfig(**config)).eval()
            self._model.load_state_dict(bench.transformer.state_dict())
        return bench.go_on(bench.batch([PROMPT] * clients), TOKENS, model=self._model)


TECHNIQUES = [
    Technique(
        "windowed attention",
        ours,
        {
            "transformers, full attention": Baseline(full),
            "transformers, sliding window": Baseline(Sliding()),
        },
    )
]
