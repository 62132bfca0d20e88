"""One server with the bundled model in fp32, its programs in the sandbox, and the `openai` client of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from openai import OpenAI
from transformers import AutoModelForImageTextToText, AutoTokenizer

from pie_core.application.limits import Limits
from pie_core.application.program import Program
from pie_core.application.quotas import Quotas
from pie_core.controller import Settings, find_model
from pie_core.plugins import Selection
from pie_core.server.access import Access
from pie_core.server.threaded import Served, served
from pie_core.testing.fake import END

OPTIONS = {"dtype": "float32", "pages": "512", "embeds": "4096"}


class Server(Served):
    """One of these tests."""

    @property
    def client(self) -> OpenAI:
        """OpenAI's own client, without second attempts."""
        http = httpx.Client(trust_env=False)
        return OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, http_client=http, timeout=60)

    @property
    def inferlets(self) -> dict[str, Any]:
        """What runs or waits."""
        return self.state.controller.application.inferlets

    @property
    def used(self) -> list[int]:
        """How much of each pool is not free."""
        (model,) = self.state.controller.models.values()
        return [pool.capacity - pool.free for pool in model.layer.pools.values()]

    def recite(self, answer: str | None) -> None:
        """Have the fake model say this; None: anything. Position p of a text is its byte p modulo the length, end token
        included."""
        (model,) = self.state.controller.models.values()
        model.backend.answer = None if answer is None else [*answer.encode(), END]  # type: ignore[attr-defined]

    def occupy(self) -> Any:
        """An inferlet that waits until it is stopped."""
        source = "import asyncio\nasync def main():\n    await asyncio.sleep(3600)\n"
        return self.run(self.state.controller.application.launch(Program("occupant", source, "occupant.py")))

    def stop(self, inferlet: Any) -> None:
        """End one."""

        async def stopped() -> None:
            self.state.controller.application.stop(inferlet, "over")

        self.run(stopped())


@contextmanager
def _fake_served(
    limits: Limits | None = None, quotas: Quotas | None = None, access: Access | None = None
) -> Iterator[Server]:
    """The package is there as long as it is looked for, and no longer: other tests have such a backend of their own."""
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(str(Path(__file__).parents[3] / "tests" / "server" / "installed"))
            options = {"pages": "4096", "embeds": "4096"}
            settings = Settings("fake", "fake", options, limits=limits or Limits(), quotas=quotas or Quotas())
            running = stack.enter_context(served(settings, Server, access=access))
        yield running


@pytest.fixture(scope="session")
def fake_served() -> Callable[..., AbstractContextManager[Server]]:
    """`with fake_served(limits, quotas=..., access=...) as server`: the model is a `FakeBackend`."""
    return _fake_served


@pytest.fixture(scope="session")
def reciter(fake_served: Callable[..., AbstractContextManager[Server]]) -> Iterator[Server]:
    """One whose model recites what `recite` says, byte by byte."""
    with fake_served() as running:
        yield running


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """Shared by the tests, which leave it as it was."""
    with served(Settings("pico", "torch", OPTIONS), Server) as running:
        yield running


@pytest.fixture(scope="session")
def openai(server: Server) -> Iterator[OpenAI]:
    """The client."""
    with server.client as client:
        yield client


@dataclass(frozen=True)
class Reference:
    """The bundled model in transformers, fp32."""

    model: Any
    tokenizer: Any

    def encode(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def chat(self, messages: list[dict[str, Any]], **more: Any) -> list[int]:
        text = self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False, **more)
        return self.encode(text)

    def greedy(self, prompt: list[int], most: int, **more: Any) -> list[int]:
        """New tokens, the end token included if it comes."""
        ids = torch.tensor([prompt])
        with torch.no_grad():
            out = self.model.generate(
                ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=most, **more
            )
        return list(out[0, len(prompt) :].tolist())

    def text(self, tokens: list[int]) -> str:
        return str(self.tokenizer.decode([t for t in tokens if t != self.end], clean_up_tokenization_spaces=False))

    @property
    def end(self) -> int:
        return int(self.tokenizer.eos_token_id)

    def logprobs(self, tokens: list[int]) -> torch.Tensor:
        """[tokens, vocabulary]"""
        with torch.no_grad():
            return torch.log_softmax(self.model(torch.tensor([tokens])).logits[0].double(), -1)


@pytest.fixture(scope="session")
def reference() -> Reference:
    """The oracle of texts and of counts."""
    path = find_model("pico", Selection()).path
    model = AutoModelForImageTextToText.from_pretrained(path, dtype=torch.float32).eval()  # it sees, too
    return Reference(model, AutoTokenizer.from_pretrained(path))
