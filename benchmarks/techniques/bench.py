"""What sides are written with: our programs, our plain completion for loops on the client's side, transformers.

Programs and completions are launched alike, as users launch them: over a connection to a server on this machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, AsyncExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self, TypeVar

import torch
import transformers

from pie_core.application.capabilities import Capabilities
from pie_core.application.events import Message, Output
from pie_core.client import Client
from pie_core.control.statistics import CallCounters
from pie_core.controller import Settings, find_model
from pie_core.loaded import LoadedModel
from pie_core.plugins import Selection
from pie_core.server.address import listen, url_of
from pie_core.server.serve import serving

T = TypeVar("T")
TOOLS = "127.0.0.1:8124"  # where programs find their tools: as the manifest of `react_agent` has it


@dataclass(frozen=True)
class Settled:
    """How everything is run: model, number type and threads of both sides, tier of our programs."""

    model: str = "pico"
    dtype: str = "float32"
    threads: int = 1
    tier: str = "native"

    @property
    def settings(self) -> Settings:
        """Of our server. Programs may start others, and reach the tools."""
        options = {"dtype": self.dtype, "threads": str(self.threads), "pages": "2048", "embeds": "8192"}
        allowed = Capabilities.of([TOOLS], spawn=True)
        return Settings(self.model, "torch", options, tier=self.tier, capabilities=allowed)


class Bench:
    """Our server in this process, a client of it, and the same model in transformers. `async with Bench(Settled())`."""

    def __init__(self, settled: Settled) -> None:
        self._settled = settled
        self._exits = AsyncExitStack()
        self._kept: dict[object, Any] = {}

    async def __aenter__(self) -> Self:
        listener = self._exits.enter_context(listen("127.0.0.1", 0))
        self._state = await self._exits.enter_async_context(serving(self._settled.settings, listener))
        self._client = await self._exits.enter_async_context(Client(url_of(listener)))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._exits.aclose()

    def keep(self, opened: Callable[[], AbstractContextManager[T]]) -> T:
        """What several rounds use: entered when it is first asked for, left with the bench."""
        if opened not in self._kept:
            self._kept[opened] = self._exits.enter_context(opened())
        kept: T = self._kept[opened]
        return kept

    async def run(self, program: str, clients: Sequence[Sequence[str]]) -> list[str]:
        """An installed program for each client, all at once, by its flags; what each prints and sends."""
        return list(await asyncio.gather(*(self._told(program, flags) for flags in clients)))

    async def complete(self, prompts: Sequence[str], max_tokens: int, *flags: str) -> list[str]:
        """Our plain completion: what a loop on the client's side launches again and again."""
        clients = [[f"--prompt={prompt}", f"--max-tokens={max_tokens}", *flags] for prompt in prompts]
        return [text.removesuffix("\n") for text in await self.run("text_completion", clients)]

    def generate(self, prompts: Sequence[str], max_tokens: int, **options: Any) -> list[str]:
        """transformers' `generate`, all prompts in one batch (padded on the left); greedy unless told otherwise."""
        return self.go_on(self.batch(prompts), max_tokens, **options)

    def go_on(self, batch: Any, max_tokens: int, **options: Any) -> list[str]:
        """The same for a `batch`. options: `model` is another one than ours, the rest is `generate`'s."""
        given = {"do_sample": False, "max_new_tokens": max_tokens} | options
        model = given.pop("model", self.transformer)
        with torch.no_grad():
            out = model.generate(batch["input_ids"], attention_mask=batch["attention_mask"], **given)
        return self.tokenizer.batch_decode(out[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)

    def batch(self, texts: Sequence[str]) -> Any:
        """`input_ids` and `attention_mask`, [texts, tokens], padded on the left."""
        return self.tokenizer(
            list(texts), return_tensors="pt", padding=True, padding_side="left", add_special_tokens=False
        )

    def chat(self, *turns: str, system: str = "") -> str:
        """The prompt of turns of the user and, between them, of the assistant, in the model's template."""
        roles = ("user", "assistant") * len(turns)
        said = [{"role": role, "content": text} for role, text in zip(roles, turns, strict=False)]
        given = [{"role": "system", "content": system}] * bool(system) + said
        return str(self.tokenizer.apply_chat_template(given, add_generation_prompt=True, tokenize=False))

    @cached_property
    def transformer(self) -> Any:
        """The model in transformers; of one that sees, the decoder alone, as it is run here."""
        config = transformers.AutoConfig.from_pretrained(self._path).get_text_config()
        return transformers.AutoModelForCausalLM.from_pretrained(
            self._path,
            config=config,
            key_mapping={r"^language_model\.model\.": "model."},
            dtype=getattr(torch, self._settled.dtype),
            attn_implementation="sdpa",
        ).eval()

    @cached_property
    def tokenizer(self) -> Any:
        """Its tokenizer."""
        return transformers.AutoTokenizer.from_pretrained(self._path)

    async def _told(self, program: str, flags: Sequence[str]) -> str:
        inferlet = await self._client.launch(program, flags)
        text = "".join([event.text async for event in inferlet if isinstance(event, Output | Message)])
        await inferlet.result()
        return text

    @property
    def forwards(self) -> CallCounters:
        """What our server has run so far: `weight` is tokens, `batches` are steps."""
        calls = self._loaded.layer.statistics.calls
        both = [calls.get(name, CallCounters()) for name in ("forward", "decode")]
        totals = {name: sum(getattr(one, name) for one in both) for name in ("batches", "commands", "weight")}
        return CallCounters(**totals)

    @property
    def _loaded(self) -> LoadedModel:
        return next(iter(self._state.controller.models.values()))

    @cached_property
    def _path(self) -> Any:
        return find_model(self._settled.model, Selection()).path
