"""What a third party may use is enough: the sample and what `pie-core new` writes import nothing that is not public."""

from __future__ import annotations

import ast
import importlib
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import inferlet
import pytest
from packaging.requirements import Requirement

from pie_core.application.runtime import RUNTIME
from pie_core.cli.templates import KINDS, render
from pie_core.plugins import Selection
from pie_core.registry import load_registry

from .conftest import SAMPLE

LISTED = {"pie_core", "pie_core.testing", "pie_core.testing.conformance", "pie_backend_torch.building"}  # by `__all__`
MODULES = {"pie_backend_torch.kernels", "pie_backend_torch.options", "pie_backend_torch.plugin"}  # all that is in them
OURS = ("pie_core", "pie_backend_torch", "pie_traits_")
CALLS = {call for trait in (RUNTIME, *load_registry(Selection()).traits.values()) for call in trait.signatures}

Files = dict[str, str]


def sample() -> Files:
    paths = [path for path in SAMPLE.rglob("*") if path.suffix in (".py", ".toml")]
    return {str(path.relative_to(SAMPLE)): path.read_text("utf-8") for path in paths}


def written(kind: str) -> Files:
    return {str(path): text for path, text in render(KINDS[kind], "some-name").items()}


PACKAGES = {"sample": sample(), **{kind: written(kind) for kind in KINDS}}


def imports(source: str) -> Iterator[tuple[str, str | None]]:
    """(module, name in it) of all imports, those for type checkers, too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module is not None
            yield from ((node.module, alias.name) for alias in node.names)


def is_program(path: str) -> bool:
    return PurePosixPath(path).parent.name in ("programs", "inferlets")


def is_public(module: str, name: str | None) -> bool:
    if module in LISTED:
        return name in importlib.import_module(module).__all__
    if module in MODULES:
        return name is None or not name.startswith("_")
    return module.startswith("pie_traits_") and not any(part.startswith("_") for part in f"{module}.{name}".split("."))


SOURCES = [(package, path) for package, files in PACKAGES.items() for path in sorted(files) if path.endswith(".py")]


@pytest.mark.parametrize(("package", "path"), SOURCES)
def test_only_what_is_public_is_imported(package: str, path: str) -> None:
    for module, name in imports(PACKAGES[package][path]):
        if is_program(path):
            known = {*inferlet.__all__, *CALLS, "forward_with_attention"}  # the last one is the sample's own
            assert module in sys.stdlib_module_names or (module == "inferlet" and name in known), (module, name)
        elif module.startswith(OURS):
            assert is_public(module, name), f"{module}: {name}"


@pytest.mark.parametrize("package", PACKAGES)
def test_what_is_imported_is_demanded(package: str) -> None:
    files = PACKAGES[package]
    project = tomllib.loads(files["pyproject.toml"])["project"]
    optional = [line for extra in project["optional-dependencies"].values() for line in extra]
    demanded = {Requirement(line).name.replace("-", "_") for line in (*project["dependencies"], *optional)}
    own = project["name"].replace("-", "_")
    used = {
        module.partition(".")[0]
        for path, source in files.items()
        if path.endswith(".py") and not is_program(path)
        for module, _ in imports(source)
    }
    assert used - set(sys.stdlib_module_names) - {own} <= demanded


def test_the_check_sees_what_is_not_public() -> None:
    assert not is_public("pie_core.registry", "load_registry")
    assert not is_public("pie_core", "registry")
    assert not is_public("pie_backend_torch.step", "build_step")
    assert not is_public("pie_traits_text._plan", "x")
    assert is_public("pie_backend_torch.building", "build_step")
    assert {path for path in map(Path, PACKAGES["sample"]) if is_program(str(path))} == {
        Path("src/pie_trait_introspective_forward/inferlets/h2o.py")
    }
