"""What every call to the runtime is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from pie_core.command import Call, Target

if TYPE_CHECKING:
    from pie_core.application.host import Host


class MaybeText(msgspec.Struct, frozen=True):
    """A text, or none."""

    value: str | None


class RuntimeCall(Call):
    """A call to the runtime; `model` and `queue` are those the guest passed first, if the target says so."""

    target: ClassVar[Target] = "none"
    future: ClassVar[bool] = False

    def apply(self, host: Host, model: str | None, queue: int | None) -> Any:
        """Do it. Raises `PieError`."""
        raise NotImplementedError
