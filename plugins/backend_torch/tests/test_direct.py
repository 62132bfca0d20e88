"""Steps of `decode` from token to token on a CPU: which are taken so, and that nothing is lost where one fails."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from pie_backend_torch.lean import LeanDecoder
from pie_backend_torch.options import TorchOptions
from pie_backend_torch.plugin import load
from pie_traits_decode.running import Run
from pie_traits_decode.testing.prompting import PROMPT, Prompting
from pie_traits_text.input_text import EmbedTxt

from pie_core.model import ModelSpec
from pie_core.testing.rig import Program

from .conftest import write_checkpoint

SOME = 12
SHOWN: list[Any] = [[], [], 0.0, 0.0, [], None, [[True] * (len(PROMPT) + SOME - 1)] * (SOME - 1)]  # up to a mask of all


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


class TestDirect(Prompting):
    backend_name = "torch"

    def make(self) -> Any:
        options = TorchOptions(pages=64, embeds=512, device="cpu", dtype="float32", threads=1)
        with TemporaryDirectory() as directory:
            path = write_checkpoint(Path(directory) / "model", "llama")
            return load(ModelSpec("llama", path), options, lambda stage, share: None)

    def started(self, count: int = 1) -> list[tuple[Program, list[Any]]]:
        """Programs behind the same prompt, and what they name in a `decode`."""
        ready = []
        for _ in range(count):
            p, (emb, _) = self.after_a_prompt(room=SOME)
            ready.append((p, [self.pages, [emb], self.pages, [emb]]))
        self.rig.loop.run()
        return ready

    def alone(self, *how: Any) -> list[int]:
        """What one draws by itself."""
        ((p, at),) = self.started()
        drawn: list[int] = self.get(p, "decode", *at, SOME, *how)
        return drawn

    def test_steps_go_past_embeds(self, passes: list[int], embedded: list[int | None]) -> None:
        ready = self.started(3)
        passes.clear(), embedded.clear()
        waiting = [p.call("decode", *at, SOME) for p, at in ready]
        self.rig.loop.run()
        assert passes == [3] * (SOME - 1) and embedded == []
        assert waiting[0].result() == waiting[1].result() == waiting[2].result() == self.alone()

    def test_one_that_wants_more_of_its_passes_has_all_take_them_together(
        self, passes: list[int], embedded: list[int | None]
    ) -> None:
        plain, (p, at) = self.started(2)
        passes.clear(), embedded.clear()
        one = plain[0].call("decode", *plain[1], SOME)
        masked = p.call("decode", *at, SOME, None, [], [], 0.0, 256, 1.0, 0.0, 0, 0, *SHOWN)
        self.rig.loop.run()
        assert passes == [2] * (SOME - 1) and len(embedded) == 2 * (SOME - 1)
        assert one.result() == masked.result() == self.alone()

    def test_a_step_that_was_run_by_others_is_drawn_and_the_next_goes_past_embeds_again(
        self, passes: list[int], embedded: list[int | None]
    ) -> None:
        whole = self.alone()
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
        expected = self.alone(*settings)
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
