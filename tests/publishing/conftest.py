"""The sample of a third party's package, as it is in the repository and as it is when somebody has installed it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ..wheels import ROOT, CleanEnvironment, build_wheels, once

SAMPLE = ROOT / "tests" / "samples" / "introspective_forward"
PACKAGE = "pie-trait-introspective-forward"


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> CleanEnvironment:
    """A clean one in which the sample was installed, from a wheel, with what its tests need."""

    def make(directory: Path) -> None:
        published = directory.with_name("published")
        shutil.copytree(wheels, published)
        build_wheels(published, SAMPLE)
        CleanEnvironment.create(directory).install(f"{PACKAGE}[test]", wheels=published)

    return CleanEnvironment(once(tmp_path_factory, "environment-sample", make))
