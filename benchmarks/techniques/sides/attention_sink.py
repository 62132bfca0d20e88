"""A chat seen through a sink and a window, against transformers with all of it in the cache, and with the same pattern.

All keep their cache from turn to turn. transformers gave its `SinkCache` away, so the one here is the least that does
it: it forgets what lies between, as ours does. While a turn is read it shows up to a turn more than the window, so that
no mask is needed. The model answers the same either way; memory is what the technique is for, and it is not shown here.
"""

from collections.abc import Callable
from typing import Any

import torch
import transformers
from transformers.cache_utils import DynamicLayer

from techniques.bench import Bench
from techniques.form import Baseline, Side, Technique

QUESTIONS = (
    "What is the capital of France?",
    "What is 7 + 5?",
    "What is the capital of Japan?",
    "Is 7 larger than 3?",
    "Name three colours.",
    "What is the capital of Peru?",
)
ROUNDS, TOKENS = 2, 24
SINK, WINDOW = 4, 60


async def ours(bench: Bench, clients: int) -> list[str]:
    asked = "\n".join(QUESTIONS)
    flags = [f"--questions={asked}", f"--rounds={ROUNDS}", f"--max-tokens={TOKENS}", f"--sink={SINK}"]
    told = await bench.run("attention_sink", [[*flags, f"--window={WINDOW}"]] * clients)
    lines = [zip(text.splitlines(), QUESTIONS * ROUNDS, strict=True) for text in told]
    return ["\n".join(line.rpartition(" [")[0].removeprefix(f"{asked} ") for line, asked in each) for each in lines]


class SinkLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of a layer, of which the first and the last are kept."""

    def __init__(self) -> None:
        super().__init__()
        self._seen = 0

    def update(self, key_states: Any, value_states: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        self._seen += key_states.shape[-2]
        keys, values = super().update(key_states, value_states, *args, **kwargs)
        if keys.shape[-2] >= SINK + WINDOW:
            self.keys, self.values = (torch.cat([of[:, :, :SINK], of[:, :, 1 - WINDOW :]], 2) for of in (keys, values))
        return keys, values

    def get_seq_length(self) -> int:
        return self._seen

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        held = self.keys.shape[-2] if self.is_initialized else 0
        return held + query_length, self._seen - held


def chat(make_cache: Callable[[Any], Any]) -> Side:
    """Turn by turn with `generate`, which goes on from the cache. All clients ask the same, as a batch."""

    async def side(bench: Bench, clients: int) -> list[str]:
        model, end = bench.transformer, bench.tokenizer.eos_token_id
        cache, answers = make_cache(model.config), list[str]()
        tokens = torch.empty(1, 0, dtype=torch.long)
        for question in QUESTIONS * ROUNDS:
            tokens = torch.cat([tokens, bench.batch([bench.chat(question)])["input_ids"]], 1)
            batch = tokens.repeat(clients, 1)
            with torch.no_grad():
                out = model.generate(
                    batch,
                    attention_mask=torch.ones_like(batch),
                    do_sample=False,
                    max_new_tokens=TOKENS,
                    past_key_values=cache,
                )
            answers.append(bench.tokenizer.decode(out[0, tokens.shape[1] :], skip_special_tokens=True))
            tokens = out[:1] if out[0, -1] == end else torch.cat([out[:1], torch.tensor([[end]])], 1)
        return ["\n".join(answers)] * clients

    return side


def whole(config: Any) -> Any:
    return transformers.DynamicCache(config=config)


def sink(config: Any) -> Any:
    return transformers.Cache(layers=[SinkLayer() for _ in range(config.num_hidden_layers)])


TECHNIQUES = [
    Technique(
        "attention sink",
        ours,
        {"transformers, full attention": Baseline(chat(whole)), "transformers, sink cache": Baseline(chat(sink))},
    )
]
