"""The handler for any backend: it runs and draws what the handlers of the text traits run and give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from inferlet.dist import Dist
from inferlet.draws import Draws
from pie_traits_text.choosing import best_tokens
from pie_traits_text.forward import Forward
from pie_traits_text.input_text import EmbedTxt
from pie_traits_text.output_text import GetNextDist
from pie_traits_text.restricting import restricted_dists

from pie_core import UNFINISHED, Command, Foundation
from pie_traits_decode.breaks import Breaks
from pie_traits_decode.own_steps import OwnSteps
from pie_traits_decode.running import Run
from pie_traits_decode.sample import Sample
from pie_traits_decode.steps import Decode
from pie_traits_decode.watching import Drawn, EndDecode, decode_into

PATIENCE_S = 1e-3  # for a guide, where the device has nothing else to do


class DecodeHandler:
    """Draws just as a program does that is given the distributions. Device thread, but for queries.

    own_steps: those that the model's handler of `forward` has, if it has any.
    """

    follows_guides = True  # `FollowsGuides`

    def __init__(self, ground: Foundation) -> None:
        self._input = ground.handlers["input_text"]
        self._output = ground.handlers["output_text"]
        self._forward = ground.handlers["forward"]
        self.own_steps = self._forward.open_steps() if isinstance(self._forward, OwnSteps) else None
        self._breaks = Breaks(ground.handlers["tokenize"])
        limit = ground.backend.batch_limit
        self._at_once = limit(GetNextDist)
        self._steps_at_once = min(limit(Forward), limit(GetNextDist), limit(EmbedTxt))

    def sample(self, batch: Sequence[Sample]) -> list[int]:
        """As many distributions at a time as `output_text` takes."""
        tokens: list[int] = []
        for part in _parts(batch, self._at_once):
            if not any(command.temperature for command in part):
                tokens += best_tokens(self._output, [command.emb for command in part])
                continue
            asked = [GetNextDist(command.emb, command.top_k if command.temperature else 1) for command in part]
            for record, of in zip(self._output.get_next_dist(asked), part, strict=True):
                draws = Draws(of.seed, of.draw)
                tokens.append(Dist.of(record).sample(of.temperature, of.top_k, of.top_p, of.min_p, draws))
        wanted = [
            EmbedTxt([token], [command.position], command.into)
            for token, command in zip(tokens, batch, strict=True)
            if command.into
        ]
        if wanted:
            self._input.embed_txt(wanted)
        return tokens

    def decode(self, batch: Sequence[Decode]) -> list[Any]:
        """One step of each: run the token drawn last, then draw."""
        runs = [self._run_of(command) for command in batch]
        left = self._left_by_own(runs)
        for part in _parts(left, self._steps_at_once):
            self._step(part, busy=len(left) < len(runs))
        return [command.answer(command.state.tokens) if command.state.ended else UNFINISHED for command in batch]

    def ride_decode(self, batch: Sequence[Decode], beside: int) -> list[Command | None]:
        """The passes that are due, as part of a batch of `forward`, unless decodes stay apart."""
        runs = [self._run_of(command) for command in batch]
        apart = self.own_steps is not None and self.own_steps.apart
        due = [] if apart else [run for run in runs if run.pending is not None]
        if not due or beside + len(due) > self._steps_at_once:
            return [None] * len(runs)
        self._input.embed_txt([run.embed() for run in due])
        return [run.forward() if run.pending is not None else None for run in runs]

    def rode_decode(self, batch: Sequence[Decode]) -> None:
        """Those passes have run."""
        for command in batch:
            command.state.has_run()

    # on the control thread

    def drawn(self, query: Drawn) -> list[int]:
        """What is known by now: tokens are put behind the others as they are drawn."""
        command = decode_into(query)
        run: Run | None = None if command is None else command.state
        return [] if run is None else run.tokens[query.after :]

    def end_decode(self, query: EndDecode) -> None:
        """Seen when the next token is taken."""
        command = decode_into(query)
        if command is not None:
            command.ending = True

    # on the device thread

    def _run_of(self, command: Decode) -> Run:
        if command.state is None:
            command.state = Run(command, self._breaks.of(command.breaks))
        run: Run = command.state
        return run

    def _left_by_own(self, runs: list[Run]) -> list[Run]:
        """Those that had no step yet when the model's own steps of others, if it has any, have been taken.

        Nobody has one where there would be another pass: the weights are read once for all.
        """
        own = self.own_steps
        if own is None:
            return runs
        taken = {run: None for run in runs if own.takes(run)}
        left = [run for run in runs if run not in taken]
        if own.apart:
            own.step(list(taken))
            return left
        if any(run.pending is not None for run in left):
            return runs
        for part in _parts(list(taken), self._steps_at_once):
            own.step(part)
        return left

    def _step(self, runs: Sequence[Run], busy: bool) -> None:
        """May be called again for runs with which it has failed: each says where it is. busy: others had a step."""
        if waiting := [run for run in runs if run.pending is not None]:
            self._input.embed_txt([run.embed() for run in waiting])
            self._forward.forward([run.forward() for run in waiting])
            for run in waiting:
                run.has_run()
        drawing = [run for run in runs if not run.ended]
        if plain := [run for run in drawing if run.guide is None]:
            self._draw_plain(plain)
        if guided := [run for run in drawing if run.guide is not None]:
            self._draw_guided(guided, 0.0 if busy or waiting or plain else PATIENCE_S)

    def _draw_plain(self, runs: Sequence[Run]) -> None:
        """By one pass over the head, without probabilities if nobody wants any."""
        if not all(run.takes_best for run in runs):
            _draw(runs, self._output.get_next_dist([run.ask() for run in runs]))
            return
        for run, token in zip(runs, best_tokens(self._output, [run.state for run in runs]), strict=True):
            run.take(token)

    def _draw_guided(self, runs: Sequence[Run], patience_s: float) -> None:
        """Those whose guides are ready. On a GPU the model still computes while they are asked."""
        allowed = [run.guide.allowed(patience_s if run is runs[0] else 0.0) for run in runs if run.guide is not None]
        ready = [(run, mask) for run, mask in zip(runs, allowed, strict=True) if mask is not None]
        if ready:
            asked = [run.ask() for run, _ in ready]
            _draw([run for run, _ in ready], restricted_dists(self._output, asked, [mask for _, mask in ready]))


def _draw(runs: Sequence[Run], dists: Sequence[Any]) -> None:
    for run, dist in zip(runs, dists, strict=True):
        run.take(run.pick(dist))


def _parts(whole: Sequence[Any], most: int) -> list[Sequence[Any]]:
    return [whole[first : first + most] for first in range(0, len(whole), most)]
