"""`pie-core wit`: files that say what is installed, and nothing heavy imported for it."""

import subprocess
import sys

STEERING = '''
from pie_core import Query, Trait, hookimpl


class Steer(Query):
    """Turn the wheel."""

    degrees: float


@hookimpl
def pie_trait():
    return Trait(name="steering", version="1.1.0", doc="Wheels.", calls=(Steer,))
'''
ENTRY = "[pie_core.traits]\nsteering = pie_steering\n"


def test_it_writes_the_wit_of_what_is_installed_and_prints_the_files(pie_core_with, package, tmp_path):
    done = pie_core_with(package("pie-steering", ENTRY, STEERING)).run("wit", tmp_path / "here")
    assert (done.returncode, done.stderr) == (0, "")
    files = done.stdout.split()
    assert files[:2] == [f"{tmp_path}/here/inferlet.wit", f"{tmp_path}/here/deps/core/core.wit"]
    assert f"{tmp_path}/here/deps/steering/steering.wit" in files
    assert sorted(files) == sorted(str(path) for path in (tmp_path / "here").rglob("*.wit"))
    assert "import pie:steering/steering@1.1.0;" in (tmp_path / "here" / "inferlet.wit").read_text()
    text = (tmp_path / "here" / "deps" / "steering" / "steering.wit").read_text()
    assert "steer: func(q: u32, degrees: f64) -> result<_, error>;" in text


def test_the_world_has_the_name_that_was_asked_for(pie_core, tmp_path):
    done = pie_core.run("wit", "--world", "my-program", tmp_path)
    assert done.returncode == 0
    assert "world my-program {" in (tmp_path / "my-program.wit").read_text()
    refused = pie_core.run("wit", "--world", "My_Program", tmp_path)
    assert refused.returncode == 1
    assert refused.stderr.startswith("Error: world 'My_Program': ")


def test_traits_can_be_left_out(pie_core_with, package, tmp_path):
    done = pie_core_with(package("pie-steering", ENTRY, STEERING)).run("wit", "--without", "traits.steering", tmp_path)
    assert done.returncode == 0
    assert "steering" not in done.stdout


def test_only_the_traits_that_are_named_and_those_they_build_on(pie_core_with, package, tmp_path):
    here = pie_core_with(package("pie-steering", ENTRY, STEERING))
    assert here.run("wit", "--trait", "forward", tmp_path).returncode == 0
    assert sorted(path.stem for path in tmp_path.rglob("*.wit")) == ["allocate", "core", "forward", "inferlet"]
    refused = here.run("wit", "--trait", "forwart", tmp_path)
    assert refused.returncode == 1 and "did you mean 'forward'" in refused.stderr


def test_a_c_header_has_a_function_for_each_of_the_wit(pie_core_with, package, tmp_path):
    header = tmp_path / "made" / "pie.h"
    done = pie_core_with(package("pie-steering", ENTRY, STEERING)).run("wit", "--c-header", header)
    assert (done.returncode, done.stdout) == (0, f"{header}\n")
    text = header.read_text()
    assert "static inline pie_result_none_t pie_steer(uint32_t q, double degrees) {" in text
    assert 'import_module("pie:steering/steering@1.1.0"), import_name("steer")' in text
    assert not list(tmp_path.rglob("*.wit"))


def test_it_imports_no_model_library_no_server_and_no_wasmtime(tmp_path):
    heavy = "('torch', 'transformers', 'numpy', 'uvicorn', 'starlette', 'websockets', 'wasmtime')"
    program = (
        "import sys; from pie_core.cli import main; main(sys.argv[1:], standalone_mode=False); "
        f"sys.exit(str([name for name in {heavy} if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", program, "wit", tmp_path], capture_output=True, text=True)
    assert done.stderr == "[]\n"
