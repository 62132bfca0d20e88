"""Offers the bundled model `pico`: a checkpoint folder inside the package and what there is to know about it."""

from pathlib import Path

from pie_core import ModelSpec, hookimpl

EXAMPLES = Path(__file__).parent / "examples"
"""A folder of small PNG files to show the model: shapes, crowd, number, chart, and before and after."""


@hookimpl
def pie_model() -> ModelSpec:
    return ModelSpec(
        name="pico",
        path=Path(__file__).parent / "checkpoint",
        description="10M-parameter LLaVA: capitals, JSON, sums, copying, editing, tool use, simple pictures.",
        version="0.1.0",
        license="Apache-2.0",
        default=True,
    )
