"""The seam of the hot path: what is replaced to run the lean decoder on other kernels than torch's.

`Kernels` is what a decoder layer is made of, `Attention` the part of it that looks at pages. Torch's own are the first
implementation (`torch_kernels.py`, `attention.py`). Another package gives `building.load_backend` a `Recipe`; loading,
pools, tokenizer, batches, handlers, adapters and swapping stay ours:

    def load(spec, options, progress):
        return load_backend(spec, options, progress, Recipe("mine", make_kernels, generic=False))

All is called on the device thread, in inference mode. Tensors are on the decoder's device and of its dtype unless said
otherwise. Rows are tokens of the pass, in order; rows from `Step.count` on are padding, and nobody reads what becomes
of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from pie_backend_torch.ahead.drawing import How
from pie_backend_torch.lean_config import LeanConfig
from pie_backend_torch.linear import Linear
from pie_backend_torch.pool import KvPool
from pie_backend_torch.step import Ints, Span, Step


@dataclass(frozen=True, slots=True)
class Flavour:
    """How a layer attends, beyond the plain softmax."""

    scale: float | None = None  # of the scores; None: 1 / sqrt(key width)
    window: int | None = None  # a token sees positions above its own minus this; an explicit mask replaces it
    softcap: float | None = None  # scores become cap * tanh(score / cap)
    sinks: Tensor | None = None  # [heads] one more score per head that takes weight and gives nothing


PLAIN = Flavour()
_FEWEST_ENTRIES = 64


@dataclass(frozen=True, slots=True)
class Room:
    """How much a plan of decode steps holds, which decides the shape of all that it launches."""

    calls: int
    entries: int  # pages that the calls look at, all together, a page that several look at counted for each

    @classmethod
    def holding(cls, calls: int, entries: int) -> Room:
        """One of few rooms, each of powers of two, so that what was captured for one is of use again."""
        return cls(power_of_two(calls), max(_FEWEST_ENTRIES, power_of_two(entries)))


class Attention(Protocol):
    """Attention over the pool. One for a model; `plan` is called once for a pass, its result once for each layer."""

    def plan(self, spans: Sequence[Span], page_size: int, ordered: bool) -> AttentionPlan:
        """How these calls attend. Work of the host alone; nothing on the device is touched.

        A call sees the live slots of its pages, then its own new ones; of these, those at positions up to its own
        (`ordered`: orders instead, see `Step.orders`) or those that its explicit mask shows.
        """


@runtime_checkable
class PlansSteps(Protocol):
    """An `Attention` whose decode steps can be captured: what they launch depends on a `Room`, not on their contexts.

    Steps are planned in two parts, so that who joins or leaves costs nobody else: what one call looks at, which is kept
    from plan to plan, and the plan of all of them, which is to be quick (some microseconds a call).
    """

    def look(self, pages: Ints, live: Ints, slot: int, position: int) -> Any:
        """What a call of one new token looks at, in the form of this attention. Nobody changes it, nor what is given.

        pages: physical, each once. live: for each of them the bit mask of slots, never 0; tokens to come may be shown
        already, hidden by their positions, as the new one itself is, whose `slot` and `position` are told besides.
        """

    def plan_steps(self, looks: Sequence[Any], room: Room) -> AttentionPlan:
        """As `plan`, of one pass over what such calls look at, positions telling who sees whom.

        All `arrays` are of a length, and all launches of a shape, that depend on the room alone. So what `attend`
        launches can be captured in a CUDA graph, and be run again for other calls by writing their arrays where those
        of the captured plan were. Raises `ValueError` if the calls do not fit.
        """


class AttentionPlan(Protocol):
    """One pass's calls, their pages and masks, ready for every layer."""

    @property
    def arrays(self) -> Sequence[Ints]:
        """What is wanted on the device; goes there in the pass's one copy."""

    def receive(self, tensors: Sequence[Tensor], device: torch.device) -> None:
        """`arrays`, on the device."""

    def place(self, step: Step, pool: KvPool) -> None:
        """Called once, before the layers, when the new tokens' positions are in the pool."""

    def attend(self, pool: KvPool, layer: int, query: Tensor, key: Tensor, value: Tensor, flavour: Flavour) -> Tensor:
        """query [rows, heads, width], key and value [rows, kv heads, width] of the new tokens -> [rows, heads, width].

        key and value are in the pool already, and may be empty (`QueryKeyValue`). A token that may see nothing gets
        zeros.
        """


class Watch(Protocol):
    """Looks on while a pass attends (`building.run_pass`), for traits that tell of it."""

    def __call__(self, layer: int, query: Tensor, flavour: Flavour) -> None:
        """Called for every layer before it attends, with the `query` and `flavour` of `AttentionPlan.attend`.

        The pool holds keys and values of the new tokens too. It may launch work of its own, and must change nothing.
        """


@dataclass(frozen=True, slots=True)
class Norm:
    """x [..., width] / sqrt(mean(x ** 2) + eps) * weight [width] (RMSNorm, Zhang and Sennrich 2019)."""

    weight: Tensor
    eps: float


@dataclass(frozen=True, slots=True)
class Turning:
    """What is done to a layer's queries and keys before they attend: norms of single heads, then rotary positions."""

    heads: int
    kv_heads: int
    width: int
    norms: tuple[Norm, Norm] | None  # of queries and keys, over the width


class QueryKeyValue(Protocol):
    """What a layer does before it attends, its norm first."""

    def __call__(
        self, x: Tensor, cos: Tensor, sin: Tensor, step: Step, pool: KvPool, layer: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """x [rows, hidden] -> query, key and value for `AttentionPlan.attend` of the same kernels' attention.

        Queries and keys are normed (`Turning`) and turned: `y * cos + roll(y, width / 2) * sin`, cos and sin [rows, 1,
        width]. Keys and values are written to the pool, at `step.slots`; where the attention takes them from there
        alone, those that are returned may be empty.
        """


class Gated(Protocol):
    """The first half of a layer's MLP, its norm first: silu(gate(n)) * up(n), n = norm(x)."""

    def __call__(self, x: Tensor) -> Tensor:
        """[rows, hidden] -> [rows, inner]"""


class Kernels(Protocol):
    """What the lean decoder runs on. One for a model."""

    attention: Attention

    def pad(self, x: Tensor) -> Tensor:
        """x [n, ...] with as many rows of padding behind it as suit these kernels; `x` itself where none do."""

    def linear(self, weight: Tensor, bias: Tensor | None) -> Linear:
        """A linear layer over weight [out, in]; which it may keep or copy, but not change."""

    def norm(self, x: Tensor, norm: Norm) -> Tensor:
        """x [rows, hidden], normed."""

    def query_key_value(self, norm: Norm, linear: Linear, how: Turning) -> QueryKeyValue:
        """linear: queries, keys, values side by side, [rows, hidden] -> [rows, (heads + 2 kv heads) * width]."""

    def gated(self, norm: Norm, read: Callable[..., Linear], gate: str, up: str) -> Gated:
        """`read(*names)` makes one `Linear` of the named layers, side by side."""

    def scores(self, head: Linear, x: Tensor) -> Tensor:
        """head(x) in float32: x [n, hidden] -> [n, vocab]."""

    def top(self, logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """The `count` most probable tokens of each row of logits [n, vocab], float32, and their probabilities.

        ids [n, count] by falling probability, equal ones by rising id. Probabilities are of the whole row's softmax.
        """

    def best(self, logits: Tensor) -> Tensor:
        """The most probable token [n] of each row of logits [n, vocab], float32; of equal ones the first."""

    def draw(self, logits: Tensor, how: How) -> Tensor:
        """A token [n] for each row of logits [n, vocab], float32; see `ahead.drawing.draw`. No look from the host.

        What is drawn from is what `ahead.drawing.listing` gives, so that `how.changes` are in it.
        """


def power_of_two(least: int) -> int:
    """The lowest one that is not less."""
    return 1 << (least - 1).bit_length()


@dataclass(frozen=True)
class Recipe:
    """What makes another backend of this one."""

    name: str  # the backend's, for messages
    kernels: Callable[[LeanConfig, torch.dtype, torch.device, int], Kernels]
    """(shape, dtype, device, page size). Raises `UnsupportedError` or `ConfigError`, saying who would take it."""
    generic: bool  # whether models that the lean decoder does not cover run on transformers' modules
