"""Offers the bundled model `pico`: a checkpoint folder inside the package and what there is to know about it."""

from pathlib import Path

from pie_core import ModelSpec, hookimpl


@hookimpl
def pie_model() -> ModelSpec:
    return ModelSpec(
        name="pico",
        path=Path(__file__).parent / "checkpoint",
        description="5M-parameter Llama: capitals, JSON, small sums, copying and editing, tool use.",
        version="0.1.0",
        license="Apache-2.0",
        default=True,
    )
