"""One server with the bundled model in fp32, its programs in the sandbox, and the `openai` client of it."""

from __future__ import annotations

import asyncio
import threading
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
from pie_core.server.address import listen, url_of
from pie_core.server.serve import serving
from pie_core.server.state import ServerState
from pie_core.testing.fake import END

OPTIONS = {"dtype": "float32", "pages": "512", "embeds": "4096"}


@dataclass
class Served:
    """A server in a thread of its own. Wait with `until` before looking at what it holds."""

    url: str
    state: ServerState
    loop: asyncio.AbstractEventLoop

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

    def run(self, coroutine: Any) -> Any:
        """Await something in the server's thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    def occupy(self) -> Any:
        """An inferlet that waits until it is stopped."""
        source = "import asyncio\nasync def main():\n    await asyncio.sleep(3600)\n"
        return self.run(self.state.controller.application.launch(Program("occupant", source, "occupant.py")))

    def stop(self, inferlet: Any) -> None:
        """End one."""

        async def stopped() -> None:
            self.state.controller.application.stop(inferlet, "over")

        self.run(stopped())

    def until(self, condition: Any) -> None:
        """Give way until something is so in the server; an error after 20 s."""

        async def waiting() -> None:
            async with asyncio.timeout(20):
                while not condition():
                    await asyncio.sleep(0.001)

        self.run(waiting())


@contextmanager
def served(
    model: str = "pico",
    backend: str = "torch",
    options: dict[str, str] = OPTIONS,
    limits: Limits | None = None,
    quotas: Quotas | None = None,
    access: Access | None = None,
) -> Iterator[Served]:
    """A server until the end of the block."""
    ready, over, box = threading.Event(), threading.Event(), list[Served]()
    given = Settings(model, backend, options, limits=limits or Limits(), quotas=quotas or Quotas())

    async def serve() -> None:
        with listen("127.0.0.1", 0) as listener:
            async with serving(given, listener, access=access) as state:
                box.append(Served(url_of(listener), state, asyncio.get_running_loop()))
                ready.set()
                await asyncio.to_thread(over.wait)

    def run() -> None:
        try:
            asyncio.run(serve())
        finally:
            ready.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        ready.wait()
        yield box[0]
    finally:
        over.set()
        thread.join()


@contextmanager
def _fake_served(limits: Limits | None = None, **more: Any) -> Iterator[Served]:
    """The package is there as long as it is looked for, and no longer: other tests have such a backend of their own."""
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(str(Path(__file__).parents[3] / "tests" / "server" / "installed"))
            running = stack.enter_context(served("fake", "fake", {"pages": "4096", "embeds": "4096"}, limits, **more))
        yield running


@pytest.fixture(scope="session")
def fake_served() -> Callable[..., AbstractContextManager[Served]]:
    """`with fake_served(limits, quotas=..., access=...) as server`: the model is a `FakeBackend`."""
    return _fake_served


@pytest.fixture(scope="session")
def reciter(fake_served: Callable[..., AbstractContextManager[Served]]) -> Iterator[Served]:
    """One whose model recites what `recite` says, byte by byte."""
    with fake_served() as running:
        yield running


@pytest.fixture(scope="session")
def server() -> Iterator[Served]:
    """Shared by the tests, which leave it as it was."""
    with served() as running:
        yield running


@pytest.fixture(scope="session")
def openai(server: Served) -> Iterator[OpenAI]:
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
