"""From `pip install` to the first answer: a new environment, our wheels, and what they need from the package index.

    make wheels && python benchmarks/first_answer.py [--dist dist] [--require torch==2.13.0+cpu] [--pip-cache]

One JSON line with the seconds of each stage: making the environment, installing, the first `pie-core run` to its first
token and to its end (nothing of pie-core's is cached before), and the same once more. How long the installing takes is
a matter of the index, and of torch above all: its wheel for CPUs has 200 MB, the one for GPUs brings gigabytes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
from report import emit, machine

ROOT = Path(__file__).parent.parent
LEFT_OUT = ("pie_backend_triton", "pie_server_openai", "pie_policies")
RUN = ("run", "text_completion", "--", "--prompt", "The capital of France is")


def run_once(command: Path, environment: dict[str, str]) -> dict[str, float]:
    """Seconds to the first byte of the answer, and to the end."""
    began = time.perf_counter()
    with subprocess.Popen([command, *RUN], env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        first = process.stdout.read(1)
        to_first = time.perf_counter() - began
        rest = process.stdout.read()
    assert (process.returncode, first + rest) == (0, b" Paris.\n"), first + rest
    return {"first_token_s": round(to_first, 2), "end_s": round(time.perf_counter() - began, 2)}


def seconds(command: list[str | Path], environment: dict[str, str]) -> float:
    """How long a command takes that must go well."""
    began = time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=sys.stderr)
    return round(time.perf_counter() - began, 2)


def size_mb(directory: Path) -> int:
    """What it weighs."""
    return round(sum(path.stat().st_size for path in directory.rglob("*") if path.is_file()) / 1e6)


@click.command(help=__doc__)
@click.option(
    "--dist", default=ROOT / "dist", type=click.Path(path_type=Path, exists=True), help="Where our wheels are."
)
@click.option("--require", multiple=True, help="One more requirement for pip, such as torch==2.13.0+cpu.")
@click.option("--pip-cache", is_flag=True, help="Let pip use what it has downloaded before.")
def main(dist: Path, require: tuple[str, ...], pip_cache: bool) -> None:
    """Entry point."""
    wheels = sorted(wheel for wheel in dist.glob("pie_*.whl") if not wheel.name.startswith(LEFT_OUT))
    if not wheels:
        raise click.UsageError(f"there is no wheel in {dist}; make wheels first")
    with tempfile.TemporaryDirectory(prefix="pie-first-answer-") as directory:
        here = Path(directory)
        own = {f"XDG_{kind}_HOME": str(here / kind.lower()) for kind in ("STATE", "CONFIG")}
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIE_"))}
        installing = kept | own
        running = installing | {"XDG_CACHE_HOME": str(here / "cache"), "OMP_NUM_THREADS": "1"}
        binaries = here / "venv" / "bin"
        venv_s = seconds([sys.executable, "-m", "venv", here / "venv"], installing)
        cached = [] if pip_cache else ["--no-cache-dir"]
        install = [binaries / "python", "-m", "pip", "install", "--quiet", *cached, *wheels, *require]
        install_s = seconds(install, installing)
        first, second = (run_once(binaries / "pie-core", running) for _ in range(2))
        emit(
            {
                "benchmark": "first_answer",
                "venv_s": venv_s,
                "install_s": install_s,
                "first_run": first,
                "second_run": second,
                "total_s": round(venv_s + install_s + first["first_token_s"], 1),
                "installed_mb": size_mb(here / "venv"),
                "wheels": [wheel.name for wheel in wheels],
                "required": require,
                "cached": {"pip": pip_cache, "pie_core": False},
            }
            | machine()
        )


if __name__ == "__main__":
    main()
