"""The Triton kernels on a GPU: their errors, and their time against torch's, in the shapes of Llama models.

    python benchmarks/kernels.py [--shapes 1b,3b,8b] [--parts attention,prefix,step,rows]
    python benchmarks/kernels.py --parts tune --shapes 1b,8b     # other ways to cut the work
    python benchmarks/kernels.py --parts shapes --shapes 1b      # and products of a single row, in a whole step
    python benchmarks/kernels.py --device cpu                    # tiny, under Triton's interpreter: only that it runs

One row for a kernel, a shape and a setting: `us` and `torch_us` (of the device alone, in a CUDA graph), `error` and
`torch_error` against float64 (attention: float32), and `roof`, how much of a read-bandwidth probe of the same run the
bytes are that have to be moved. Of `best` and `draw` errors are the share of tokens that are others. `prefix` rows are
64 branches of one context; `step` rows, without torch's times and errors, a whole decode step of a model with random
weights, on each set of kernels (with FlashInfer's attention too, where it is installed), `host_us` the same launched
kernel after kernel, `served_us` planned anew each time as well. At the end a table, on the error stream. Exits with 1
if an error is larger than 1e-2 of the largest number, or if a part fails.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from itertools import product

import click
import structlog
import torch
from report import Columns, Row, emit, machine, print_table

BOUND = 1e-2
PARTS = ("attention", "prefix", "step", "rows")
COLUMNS: Columns = {
    "shape": "shape",
    "kernel": "kernel",
    "of": lambda row: setting(row),
    "us": "us",
    "torch, us": "torch_us",
    "to torch": "to_torch",
    "of the bandwidth": lambda row: f"{row['roof']:.1%}" if "roof" in row else None,
    "from the host, us": "host_us",
    "tokens/s": "tokens_per_s",
    "error": "error",
    "torch's error": "torch_error",
}
FIGURES = {"us", "torch_us", "to_torch", "sdpa_us", "roof", "error", "torch_error", "refused", "tflops", "gbps"}
FIGURES |= {"host_us", "served_us", "plan_us", "tokens_per_s"}


@click.command(help=__doc__)
@click.option("--device", default="cuda")
@click.option("--shapes", default="1b,3b,8b")
@click.option("--parts", default=",".join(PARTS))
def main(device: str, shapes: str, parts: str) -> None:
    """Entry point."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    tiny = device == "cpu"
    if tiny:  # said before any kernel is defined
        os.environ["TRITON_INTERPRET"], shapes = "1", "tiny"
    import triton
    from kernel_parts.attending import attention, prefix
    from kernel_parts.rows import rows
    from kernel_parts.shapes import SHAPES, Run
    from kernel_parts.shaping import shaping
    from kernel_parts.stepping import step
    from kernel_parts.timing import read_gbps
    from kernel_parts.tuning import tune

    measured = {"rows": rows, "attention": attention, "prefix": prefix, "step": step, "tune": tune, "shapes": shaping}
    torch.manual_seed(0)
    where = torch.device(device)
    facts = machine(device) | {"triton": triton.__version__}
    run = Run(where, torch.float32 if tiny else torch.bfloat16, read_gbps(where), tiny)
    emit({"benchmark": "kernels", "kernel": "read_bandwidth", "gbps": round(run.gbps, 1)} | facts)
    wrong, told = 0, []
    with torch.inference_mode():
        for name, part in product(shapes.split(","), parts.split(",")):
            try:
                for row in measured[part](run, SHAPES[name]):
                    wrong += not row.get("error", 0.0) <= BOUND
                    told.append({"shape": name} | row)
                    emit({"benchmark": "kernels", "shape": name, "dtype": str(run.dtype)[6:]} | row | facts)
            except Exception:  # one part that fails does not stop the next
                wrong += 1
                print(f"{name} {part}: {traceback.format_exc()}", file=sys.stderr, flush=True)
    print_table(told, COLUMNS)
    sys.exit(1 if wrong else 0)


def setting(row: Row) -> str:
    """What a row is of: all that it says and did not measure."""
    told = {name: value for name, value in row.items() if name not in FIGURES | {"shape", "kernel"} and value != -1}
    return ", ".join(value if isinstance(value, str) else f"{name} {value}" for name, value in told.items())


if __name__ == "__main__":
    main()
