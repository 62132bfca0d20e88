"""Steps of decodes on a CPU: from the token to the pass to the next token, without commands and Embeds in between."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pie_backend_torch.ahead.course import Course, is_plain
from pie_backend_torch.backend import TorchBackend
from pie_backend_torch.distributions import distributions
from pie_backend_torch.step import Span, build_step
from pie_backend_torch.upload import indices


class DirectSteps:
    """What the torch backend does of trait `decode` by itself (`pie_traits_decode.own_steps.Steps`). Device thread.

    Keeps nothing of a decode between steps, so any of its steps may be run otherwise.
    """

    apart = False

    def __init__(self, backend: TorchBackend) -> None:
        self._backend = backend

    def takes(self, course: Course) -> bool:
        """Whether it can run this one's next step."""
        return course.pending is not None and is_plain(course)

    @torch.inference_mode()
    def step(self, courses: Sequence[Course]) -> None:
        """Run the pending token of each, draw the next. If it fails, no course has got any further."""
        backend = self._backend
        decoder, pool = backend.decoder, backend.pool
        spans = [_span(course, pool.page_size) for course in courses]
        tokens = [course.pending or 0 for course in courses]
        step = build_step(decoder.kernels.attention, spans, pool.page_size, decoder.device, (tokens,))
        step.place(pool)
        hidden = decoder.hidden(decoder.embed(step.extra[0]), step, pool)
        for course, token in zip(courses, self._drawn(courses, decoder.logits(hidden)), strict=True):
            course.has_run()
            course.take(token)
        if ended := [row for row, course in enumerate(courses) if course.ended]:
            rows = indices([ended, [courses[row].command.oemb[0].index for row in ended]], decoder.device)
            backend.embeds.index_copy_(0, rows[1], hidden.index_select(0, rows[0]))

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
