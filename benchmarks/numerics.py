"""The tests of the torch and Triton backends, and of captured steps, on a device that CI lacks: what passed, errors.

    python benchmarks/numerics.py [--device cuda] [--workers 12] [--only FILE...] [PYTEST ARGUMENT...]

One row per file. `worst_error` is the largest difference of a logit from transformers' in float32, as a share of the
largest logit; `worst_to_transformers` how much further from float32 half precision is than transformers' own. What
pytest prints goes to the standard error.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.etree import ElementTree  # of our own pytest's making

import click
from report import emit, machine

PLUGINS = Path(__file__).parents[1] / "plugins"
TESTS = [PLUGINS / package / "tests" for package in ("backend_torch", "backend_triton")]
TESTS.append(PLUGINS / "traits_decode" / "tests" / "test_on_gpu.py")
LOGITS = re.compile(r"\|dlogit\| (\S+) of (\S+)")
HALF = re.compile(r"ours (\S+), transformers (\S+)")


@click.command(help=__doc__)
@click.option("--device", default="cuda")
@click.option("--workers", default=12, help="Processes, where pytest-xdist is installed.")
@click.option("--only", multiple=True, help="Names of files of these, instead of all.")
@click.argument("arguments", nargs=-1)
def main(device: str, workers: int, only: tuple[str, ...], arguments: tuple[str, ...]) -> None:
    """Entry point; exits like pytest."""
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory) / "junit.xml"
        settings = ("junit_logging=system-out", "filterwarnings=default")  # not our warnings: other versions of others
        tests = TESTS if not only else [file for path in TESTS for file in files_of(path) if file.name in only]
        command = [sys.executable, "-m", "pytest", *map(str, tests), f"--junitxml={report}", "-p", "no:cacheprovider"]
        command += [*(f"--override-ini={setting}" for setting in settings), "-vv", "--tb=short", *arguments]
        if find_spec("xdist") is not None:
            command += ["-n", str(workers)]
        environment = os.environ | {"PIE_TEST_DEVICE": device, "OMP_NUM_THREADS": "1"}
        code = subprocess.run(command, env=environment, stdout=sys.stderr).returncode
        if not report.exists():
            sys.exit(code)
        files: dict[str, list[ElementTree.Element]] = {}
        for case in ElementTree.parse(report).iter("testcase"):
            parts = case.get("classname", "").split(".")
            name = "/".join(part for part in parts if part.startswith(("backend_", "traits_", "test_")))
            files.setdefault(name, []).append(case)
    facts = machine(device)
    for name, cases in sorted(files.items()):
        emit({"benchmark": "numerics", "device": device, "file": name} | summary(cases) | facts)
    sys.exit(code)


def files_of(path: Path) -> list[Path]:
    """Of a folder of tests, or the one that it is."""
    return [path] if path.is_file() else sorted(path.glob("test_*.py"))


def summary(cases: list[ElementTree.Element]) -> dict[str, Any]:
    """Counts, and the worst of each kind of error."""
    failed = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    skipped = sum(case.find("skipped") is not None for case in cases)
    printed = [case.findtext("system-out") or "" for case in cases]
    return {
        "passed": len(cases) - len(failed) - skipped,
        "failed": sorted(case.get("name", "") for case in failed),
        "skipped": skipped,
        "worst_error": worst(LOGITS, printed),
        "worst_to_transformers": worst(HALF, printed),
        "seconds": round(sum(float(case.get("time", 0)) for case in cases), 1),
    }


def worst(pattern: re.Pattern[str], printed: Iterable[str]) -> float | None:
    """The largest ratio of two numbers that tests printed, to two digits; None if none did."""
    ratios = [float(one) / float(other) for text in printed for one, other in pattern.findall(text)]
    return float(f"{max(ratios):.2g}") if ratios else None


if __name__ == "__main__":
    main()
