"""Real packages, as pip would leave them behind, for tests of plugin loading; and as they are published."""

import sys
from textwrap import dedent

import pytest
from hypothesis import HealthCheck, settings

from .wheels import ROOT, build_wheels, once

collect_ignore = ["samples"]  # packages of their own, whose tests run where they are installed
settings.register_profile("any load", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any load")
OURS = [".", "inferlets/sdk", "plugins/traits_text", "plugins/backend_torch", "plugins/model_pico"]


@pytest.fixture(scope="session")
def wheels(tmp_path_factory):
    """A directory with wheels of the core, the SDK, the text traits, the torch backend and the bundled model."""
    return once(tmp_path_factory, "wheels", lambda target: build_wheels(target, *(ROOT / part for part in OURS)))


@pytest.fixture
def install(tmp_path, monkeypatch):
    """`install(name, {module: source}, {group: {entry point: target}}, version)`: importlib.metadata will find it."""
    names = []

    def make(name, modules, entry_points, version="1.0"):
        site = tmp_path / f"site-{name}-{version}"
        info = site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        sections = [
            f"[{group}]\n" + "".join(f"{point} = {target}\n" for point, target in points.items())
            for group, points in entry_points.items()
        ]
        (info / "entry_points.txt").write_text("\n".join(sections))
        for module, source in modules.items():
            (site / f"{module}.py").write_text(dedent(source))
            names.append(module)
        monkeypatch.syspath_prepend(str(site))

    yield make
    for module in names:
        sys.modules.pop(module, None)
