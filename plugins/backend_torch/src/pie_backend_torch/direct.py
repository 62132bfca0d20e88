"""Steps of decodes on a CPU: from the token to the pass to the next token, without commands in between."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pie_backend_torch.backend import TorchBackend
from pie_backend_torch.course import Course, is_plain
from pie_backend_torch.distributions import distributions
from pie_backend_torch.step import Span, build_step


class DirectSteps:
    """What the torch backend does of trait `decode` by itself (`pie_traits_decode.own_steps.Steps`). Device thread.

    Keeps nothing of a decode between steps, so any of its steps may be run otherwise. Not for models that have orders:
    what is to be known of a token's place lies beside its Embed there (`places`).
    """

    apart = False

    def __init__(self, backend: TorchBackend) -> None:
        self._backend = backend

    def takes(self, course: Course) -> bool:
        """Whether it can run this one's next step."""
        return course.pending is not None and self._backend.places is None and is_plain(course)

    @torch.inference_mode()
    def step(self, courses: Sequence[Course]) -> None:
        """Run the pending token of each, draw the next. If it fails, no course has got any further."""
        decoder, pool = self._backend.decoder, self._backend.pool
        spans = [_span(course, pool.page_size) for course in courses]
        tokens = [course.pending for course in courses if course.pending is not None]
        kept = [course.command.oemb[0].index for course in courses]
        step = build_step(decoder.kernels.attention, spans, pool.page_size, decoder.device, (tokens, kept))
        step.place(pool)
        hidden = decoder.hidden(decoder.embed(step.extra[0]), step, pool)
        self._backend.embeds.index_copy_(0, step.extra[1], hidden)
        for course, token in zip(courses, self._drawn(courses, decoder.logits(hidden)), strict=True):
            course.has_run()
            course.take(token)

    def _drawn(self, courses: Sequence[Course], logits: Tensor) -> list[int]:
        kernels = self._backend.decoder.kernels
        if all(course.takes_best for course in courses):
            best: list[int] = kernels.best(logits).tolist()
            return best
        found = distributions(kernels, logits, [course.top_k for course in courses], [logits.shape[1]] * len(courses))
        return [course.pick(dist) for course, dist in zip(courses, found, strict=True)]


def _span(course: Course, size: int) -> Span:
    ((place, slot),) = course.next_slots(1)
    pages = [page.index for page in course.pages]
    return Span(pages, course.live, (pages[place] * size + slot,), (course.position,))
