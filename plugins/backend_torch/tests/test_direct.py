"""Steps of `decode` from token to token on a CPU: which are taken so, and that nothing is lost where one fails."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import pytest
import torch
from inferlet.dist import Dist
from inferlet.draws import Draws
from pie_backend_torch.lean import LeanDecoder
from pie_backend_torch.options import TorchOptions
from pie_backend_torch.plugin import load
from pie_traits_decode.running import Run
from pie_traits_decode.steps import Decode
from pie_traits_decode.testing.prompting import PROMPT, Prompting
from pie_traits_text.input_text import EmbedTxt

from pie_core.model import ModelSpec
from pie_core.testing.rig import Program

from . import vision_families
from .conftest import write_adapter, write_checkpoint

SOME = 12
SHOWN = [[True] * (len(PROMPT) + SOME - 1)] * (SOME - 1)  # a mask that hides nothing


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows of each pass over the model."""
    rows: list[int] = []
    hidden = LeanDecoder.hidden

    def counted(self: LeanDecoder, x: torch.Tensor, step: Any, pool: Any) -> torch.Tensor:
        rows.append(len(x))
        return hidden(self, x, step, pool)

    monkeypatch.setattr(LeanDecoder, "hidden", counted)
    return rows


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """The tokens of decodes that went through Embeds."""
    tokens: list[int | None] = []
    embed = Run.embed

    def counted(self: Run) -> EmbedTxt:
        tokens.append(self.pending)
        return embed(self)

    monkeypatch.setattr(Run, "embed", counted)
    return tokens


def one_by_one(
    suite: Prompting, temperature: float = 0.0, top_k: int = 256, top_p: float = 1.0, min_p: float = 0.0
) -> list[int]:
    """The program that draws token by token itself, which shares no step with a `decode`."""
    p, (emb, _) = suite.after_a_prompt(room=SOME)
    drawn: list[int] = []
    for at in range(SOME):
        dist = Dist.of(suite.get(p, "get_next_dist", [emb], top_k))
        drawn.append(dist.sample(temperature, top_k, top_p, min_p, Draws(7, at)))
        p.call("embed_txt", drawn[-1:], [len(PROMPT) + at], [emb])
        p.call("forward", suite.pages, [emb], suite.pages, [emb])
    return drawn


class TestDirect(Prompting):
    backend_name = "torch"

    def make(self) -> Any:
        with TemporaryDirectory() as directory:
            path = write_checkpoint(Path(directory) / "model", "llama")
            adapter = write_adapter(Path(directory) / "louder", path, 1, r=8, lora_alpha=64, target_modules=["v_proj"])
            options = TorchOptions(pages=64, embeds=512, device="cpu", threads=1, adapters=f"louder={adapter}")
            return load(ModelSpec("llama", path), options, lambda stage, share: None)

    def started(self, count: int = 1) -> list[tuple[Program, list[Any]]]:
        """Programs behind the same prompt, and what they name in a `decode`."""
        ready = []
        for _ in range(count):
            p, (emb, _) = self.after_a_prompt(room=SOME)
            ready.append((p, [self.pages, [emb], self.pages, [emb]]))
        self.rig.loop.run()
        return ready

    def test_steps_go_past_commands(self, passes: list[int], embedded: list[int | None]) -> None:
        ready = self.started(3)
        passes.clear(), embedded.clear()
        waiting = [p.call("decode", *at, SOME) for p, at in ready]
        self.rig.loop.run()
        assert passes == [3] * (SOME - 1) and embedded == []
        assert waiting[0].result() == waiting[1].result() == waiting[2].result() == one_by_one(self)

    def test_no_more_at_once_than_a_batch_may_have(self, monkeypatch: pytest.MonkeyPatch, passes: list[int]) -> None:
        handler: Any = self.subject.realization.routes[Decode]
        monkeypatch.setattr(handler.__self__, "_steps_at_once", 2)
        ready = self.started(3)
        passes.clear()
        waiting = [p.call("decode", *at, SOME) for p, at in ready]
        self.rig.loop.run()
        assert passes == [2, 1] * (SOME - 1)
        assert all(one.result() == one_by_one(self) for one in waiting)

    @pytest.mark.parametrize("what", ["a mask", "an adapter"])
    def test_one_that_wants_more_of_its_passes_has_all_take_them_together(
        self, passes: list[int], embedded: list[int | None], what: str
    ) -> None:
        plain, (p, at) = self.started(2)
        passes.clear(), embedded.clear()
        one = plain[0].call("decode", *plain[1], SOME)
        more = (None, SHOWN) if what == "a mask" else ("louder", None)
        other = p.call("decode", *at, SOME, None, [], [], 0.0, 256, 1.0, 0.0, 0, 0, [], [], 0.0, 0.0, [], *more)
        self.rig.loop.run()
        assert passes == [2] * (SOME - 1) and len(embedded) == 2 * (SOME - 1)
        assert one.result() == one_by_one(self)
        assert (other.result() == one.result()) == (what == "a mask")

    def test_a_step_that_was_run_by_others_is_drawn_and_the_next_goes_past_embeds_again(
        self, passes: list[int], embedded: list[int | None]
    ) -> None:
        whole = one_by_one(self)
        (p, at), (other, (pages, (emb,), *_)) = self.started(2)
        decode = p.call("decode", *at, SOME)
        for _ in range(3):
            self.rig.loop.step()
        passes.clear(), embedded.clear()
        other.call("embed_txt", [7], [len(PROMPT)], [emb])
        other.call("forward", pages, [emb], pages, [emb])
        self.rig.loop.run()
        assert decode.result() == whole
        assert passes.count(2) == 1 and set(passes) == {1, 2} and len(embedded) == 1

    @pytest.mark.parametrize("how", [(0.0, 256, 1.0, 0.0), (0.9, 20, 0.9, 0.0)])
    @pytest.mark.parametrize("what", ["hidden", "logits"])
    def test_one_that_fails_takes_nothing_from_the_others(
        self, monkeypatch: pytest.MonkeyPatch, what: str, how: tuple[float, int, float, float]
    ) -> None:
        """The step of both fails, then that of the first by itself."""
        settings = [None, [], [], *how, 7]
        expected = one_by_one(self, *how)
        (p, at), (other, there) = self.started(2)
        calls: list[int] = []
        works = getattr(LeanDecoder, what)

        def breaks(self: LeanDecoder, x: torch.Tensor, *rest: Any) -> torch.Tensor:
            calls.append(len(x))
            found: torch.Tensor = works(self, x, *rest)
            if len(calls) in (4, 5):
                raise RuntimeError("a kernel is wrong")
            return found

        monkeypatch.setattr(LeanDecoder, what, breaks)
        wrong, right = p.call("decode", *at, SOME, *settings), other.call("decode", *there, SOME, *settings)
        self.rig.loop.run()
        assert calls[3:6] == [2, 1, 1]
        assert "a kernel is wrong" in str(wrong.error) and right.result() == expected


class WithOrders(Prompting):
    """Models in which positions do not tell all of who sees whom, or of how a token turns."""

    backend_name = "torch"
    family: ClassVar[str]
    folder: ClassVar[TemporaryDirectory[str]]  # there until the tower has been read, too

    def make(self) -> Any:
        type(self).folder = TemporaryDirectory()
        path = vision_families.write(Path(self.folder.name) / "model", self.family)
        options = TorchOptions(pages=64, embeds=512, device="cpu", dtype="float32", threads=1)
        return load(ModelSpec(self.family, path), options, lambda stage, share: None)

    @classmethod
    def teardown_class(cls) -> None:
        super().teardown_class()
        cls.folder.cleanup()

    def test_decodes_draw_what_a_program_draws_itself(self) -> None:
        expected = one_by_one(self)
        p, (emb, _) = self.after_a_prompt(room=SOME)
        assert self.get(p, "decode", self.pages, [emb], self.pages, [emb], SOME) == expected
        assert self.subject.backend.places is not None


class TestGemma3(WithOrders):
    family = "gemma3"


class TestQwen2Vl(WithOrders):
    family = "qwen2_vl"
