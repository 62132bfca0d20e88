"""Offers the bundled model `pico-vl`: a checkpoint folder inside the package and what there is to know about it."""

from pathlib import Path

from pie_core import ModelSpec, hookimpl

EXAMPLES = Path(__file__).parent / "examples"
"""A folder of small PNG files to show the model: shapes, crowd, number, chart, and before and after."""


@hookimpl
def pie_model() -> ModelSpec:
    return ModelSpec(
        name="pico-vl",
        path=Path(__file__).parent / "checkpoint",
        description="10M-parameter LLaVA: describes, counts, compares and reads simple pictures; text as pico.",
        version="0.1.0",
        license="Apache-2.0",
    )
