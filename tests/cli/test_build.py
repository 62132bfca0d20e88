"""`pie-core build` makes a component that runs by itself, or says why it cannot."""

from importlib.util import find_spec

import pytest

PROGRAM = "async def main():\n    print('built')\n    return 'done'\n"


@pytest.mark.skipif(find_spec("componentize_py") is None, reason="pip install componentize-py")
def test_a_program_becomes_a_component(pie_core, tmp_path):
    from tests.wasm.stock_host import StockHost

    source, target = tmp_path / "my.py", tmp_path / "out.wasm"
    source.write_text(PROGRAM)
    ran = pie_core.run("build", source, "-o", target)
    assert (ran.returncode, ran.stdout) == (0, f"{target}\n") and "building" in ran.stderr
    run = StockHost(target).run()
    assert (run.output, run.returned) == (["built\n"], "done")


def test_what_cannot_be_built_is_one_message(pie_core, tmp_path):
    source = tmp_path / "my.py"
    source.write_text(PROGRAM)
    assert "does not exist" in pie_core.run("build", tmp_path / "nothing.py").stderr
    ran = pie_core.run("build", source, "--with", "msgspec")
    assert ran.returncode == 1 and "holds compiled code" in ran.stderr and "Traceback" not in ran.stderr
    source.write_text("def main(): pass")
    assert "`main` must be `async def main():`" in pie_core.run("build", source).stderr
