"""What the design promises about the code itself, checked on its syntax trees."""

import ast
import re
from pathlib import Path

import pytest

import pie_core

ROOT = Path(pie_core.__file__).parent
REPOSITORY = ROOT.parent
SDK = REPOSITORY / "inferlets" / "sdk" / "inferlet"

# From the ground up. A module may import its own layer and those below.
LAYERS = [
    ("declarations", ["errors", "version", "schema", "resource", "command", "trait", "model", "hookspecs", "plugins"]),
    ("inference", ["inference", "registry"]),
    ("control", ["control", "loaded"]),
    ("application", ["application"]),
    ("core", ["controller", "logs", "policies", "tracing"]),
    ("testing", ["testing", "pytest_plugin"]),
    ("edge", ["server", "client"]),
    ("cli", ["cli", "reference", "__main__"]),
]
RANK = {module: rank for rank, (_, modules) in enumerate(LAYERS) for module in modules}

SOURCES = sorted(ROOT.rglob("*.py"))


def name(path):
    return str(path.relative_to(ROOT))


def part(path):
    """The top-level module of pie_core that a file belongs to."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path):
    """Names of the modules that a file imports when it runs; what stands under TYPE_CHECKING does not run."""
    tree = ast.parse(path.read_text("utf-8"))
    exempt = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in exempt:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_every_module_has_its_place_in_the_layers():
    parts = {part(path) for path in SOURCES} - {"__init__"}
    assert parts <= set(RANK), f"give {sorted(parts - set(RANK))} a place in LAYERS"


@pytest.mark.parametrize("path", [p for p in SOURCES if part(p) != "__init__"], ids=name)
def test_no_module_imports_upward(path):
    mine = RANK[part(path)]
    for module in imports(path):
        if not module.startswith("pie_core."):
            continue
        other = module.split(".")[1]
        assert RANK.get(other, 0) <= mine, f"{name(path)} is {LAYERS[mine][0]}, it imports {module}"


def test_nothing_in_the_package_imports_its_own_facade_while_it_is_being_made():
    for path in SOURCES:
        if part(path) in ("testing", "client", "server", "cli", "__main__"):
            continue
        assert "pie_core" not in set(imports(path)), f"{name(path)} imports from pie_core itself"


@pytest.mark.parametrize("path", sorted(SDK.rglob("*.py")), ids=lambda path: path.name)
def test_the_sdk_imports_nothing_of_the_host(path):
    assert not any(module.split(".")[0].startswith("pie_") for module in imports(path))


@pytest.mark.parametrize("path", sorted((REPOSITORY / "inferlets").glob("*.py")), ids=lambda path: path.name)
def test_programs_import_nothing_of_the_host(path):
    assert not any(module.split(".")[0].startswith("pie_") for module in imports(path))


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_no_model_library_and_no_plugin_is_imported_anywhere_in_the_core(path):
    foreign = {"torch", "transformers", "numpy", "triton", "safetensors", "tokenizers"}
    for module in imports(path):
        top = module.split(".")[0]
        assert top not in foreign and not re.match(r"pie_(?!core)", top), f"{name(path)} imports {module}"


PUBLIC = {  # what a plugin offers to others that are built on it
    "pie_backend_torch": {"building", "kernels", "options", "plugin"},
}


@pytest.mark.parametrize(
    "path", sorted((REPOSITORY / "plugins").glob("*/src/**/*.py")), ids=lambda p: p.parent.name + "/" + p.name
)
def test_a_plugin_depends_on_no_other_but_for_public_trait_declarations_and_seams(path):
    own = path.relative_to(REPOSITORY / "plugins").parts[2]
    for module in imports(path):
        top, *rest = module.split(".")
        if top.startswith("pie_") and top not in (own, "pie_core"):
            if top in PUBLIC:
                assert rest and rest[0] in PUBLIC[top], f"{path} imports {module}"
                continue
            assert top.startswith("pie_traits_"), f"{path} imports {module}"
            assert not any(part.startswith("_") for part in rest), f"{path} imports {module}"


TRAITS = {"forward", "input_text", "input_image", "tokenize", "output_text", "allocate"}
NAMES = TRAITS | {"torch", "triton", "pico"}


def docstrings(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr):
                yield first.value


@pytest.mark.parametrize("path", [p for p in SOURCES if part(p) != "testing"], ids=name)
def test_the_core_names_no_concrete_trait_backend_or_model(path):
    tree = ast.parse(path.read_text("utf-8"))
    texts = set(docstrings(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in texts:
            assert node.value not in NAMES, f"{name(path)}:{node.lineno} names {node.value!r}"


MUTABLE = ("dict", "list", "set", "deque", "defaultdict", "OrderedDict", "Counter", "count", "WeakKeyDictionary")


def module_state(tree):
    """Names bound at module level to something that can change, unless declared as a constant by type."""
    for node in tree.body:
        if isinstance(node, ast.Assign):
            targets, value, annotation = node.targets, node.value, ""
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            targets, value, annotation = [node.target], node.value, ast.unparse(node.annotation)
        else:
            continue
        label = ast.unparse(targets[0])
        made = isinstance(value, ast.Call) and ast.unparse(value.func).split(".")[-1] in MUTABLE
        display = isinstance(value, ast.Dict | ast.List | ast.Set | ast.DictComp | ast.ListComp | ast.SetComp)
        if label != "__all__" and (made or (display and not label.isupper() and not re.match(r"_[A-Z]", label))):
            yield label
        assert "ContextVar" not in annotation or label.islower()


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_no_module_keeps_state(path):
    tree = ast.parse(path.read_text("utf-8"))
    assert list(module_state(tree)) == []
    written = {n for node in ast.walk(tree) if isinstance(node, ast.Global) for n in node.names}
    assert not written, f"{name(path)} changes module globals {written}"


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_every_module_says_why_it_exists(path):
    tree = ast.parse(path.read_text("utf-8"))
    assert not tree.body or ast.get_docstring(tree), f"{name(path)} has no docstring"


@pytest.mark.parametrize("path", [p for p in SOURCES if part(p) == "control"], ids=name)
def test_the_control_layer_takes_time_chance_and_threads_from_outside(path):
    """Determinism: clock, randomness and scheduling are arguments."""
    ambient = {"time", "random", "secrets", "threading", "asyncio", "uuid", "os", "datetime", "concurrent"}
    assert not ambient & {module.split(".")[0] for module in imports(path)}
