"""Children of a trusted program whose computing time or memory is limited: they run in the sandbox, and end there."""

from __future__ import annotations

import asyncio

import pytest

from pie_core.application.capabilities import Capabilities
from pie_core.application.wasm.tier import WasmTier
from pie_core.testing import FakeBackend, fake_model
from pie_core.testing.run import Outcome, run_inferlet

HEAD = """# /// inferlet
# spawn = true
# ///
from inferlet import *
import json, sys

def child(body):
    lines = ["# /// inferlet", "# spawn = true", "# ///", "from inferlet import *", "import sys", "async def main():"]
    return "\\n".join(lines) + "\\n    " + body.replace("\\n", "\\n    ")

async def confined(body, *arguments, **limits):
    return await spawn("child", arguments, source=child(body), limits=limits).join()

async def main():
"""


def run(body: str) -> Outcome:
    """A trusted program, on a server that has a sandbox too."""

    async def go() -> Outcome:
        model = fake_model(FakeBackend())
        try:
            return await run_inferlet(
                HEAD + "    " + "\n    ".join(body.strip().splitlines()),
                models={"fake": model},
                capabilities=Capabilities.of(spawn=True),
                sandbox=lambda: WasmTier(model.known_traits),
            )
        finally:
            model.close()

    return asyncio.run(go())


def test_such_a_child_is_sandboxed_and_so_are_its_children_and_nobody_else() -> None:
    outcome = run(
        """
where = "return sys.platform"
deep = "return await spawn('grandchild', source=get_arg()[0]).join()"
found = [await confined(where, cpu_s=5), await confined(deep, child(where), memory_bytes=64 << 20)]
found += [await confined(where, kvpages=1) == sys.platform, sys.platform == "wasi"]
print(json.dumps(found))
"""
    )
    assert outcome.output == '["wasi", "wasi", true, false]\n', outcome


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("while True: pass", "cpu_s"),
        ("return 'a' * 10**8", "MemoryError"),
        ("return open('/etc/hostname').read()", "Error"),
        ("import socket\\nsocket.create_connection(('127.0.0.1', 80))", "Error"),
    ],
)
def test_what_it_must_not_do_ends_it_alone(body: str, told: str) -> None:
    outcome = run(
        f"""
try:
    print("did it:", await confined("{body}", cpu_s=1, memory_bytes=64 << 20))
except PieError as error:
    print(type(error).__name__, error)
print(await confined("return 'well'", cpu_s=5))
"""
    )
    assert told in outcome.output and "did it" not in outcome.output, outcome
    assert outcome.output.endswith("well\n")
