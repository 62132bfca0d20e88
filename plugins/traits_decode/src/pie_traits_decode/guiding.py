"""What may tell a `decode` which tokens come next: the seam to grammars, of which this package knows nothing.

A trait that has both as supertraits declares a command that is a subclass of `Decode` and batches with it
(`batches_with`), and says in `guide` and `answer` what is different. All its steps are taken together with those of
plain decodes.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable


class Guide(Protocol):
    """Follows the tokens of one `decode`. Device thread.

    What it raises (a `PieError`) fails that decode and no other one.
    """

    @property
    def ended(self) -> bool:
        """Whether nothing may follow what was taken, so that it ends the decode."""
        ...

    def allowed(self, patience_s: float) -> bytes | None:
        """A bit for every token: those that may come next, at least one (`RestrictsDists`, of trait `output_text`).

        None where this takes so long that the device cannot wait: it is being found out elsewhere, and not known after
        this many seconds. The decode then sits out a step.
        """
        ...

    def take(self, token: int) -> None:
        """This one was drawn, among those that are allowed."""
        ...


@runtime_checkable
class FollowsGuides(Protocol):
    """A handler of `decode` that asks the guides of its commands. The one for any backend does."""

    follows_guides: bool
