"""`pie-core run`: what a program says arrives, and what goes wrong is one clear message."""

import json
import os
import signal

import pytest

from .conftest import INSTALLED


def test_messages_go_to_stdout_as_they_come_and_the_exit_code_is_0(pie_core, tmp_path):
    program = tmp_path / "hello.py"
    program.write_text(
        "from inferlet import get_arg, send\n"
        "async def main():\n"
        "    send('one, ')\n    send('two\\n')\n    print('printed', *get_arg())\n    return 'result'\n"
    )
    done = pie_core.run_fake(program, "--", "a", "--b")
    assert (done.stdout, done.stderr, done.returncode) == ("one, two\nprinted a --b\nresult\n", "", 0)


def test_a_model_generates_through_the_whole_stack(pie_core):
    done = pie_core.run_fake("text_completion", "-o", f"answer={'Paris, ' * 50}", "--", "--max-tokens", "9")
    assert (done.stderr, done.returncode) == ("", 0)
    assert len(done.stdout.rstrip("\n")) == 9


def test_blobs_are_a_note_on_stderr(pie_core, programs):
    done = pie_core.run_fake(programs / "blob.py")
    assert (done.stdout, done.stderr) == ("", "[blob of 5 bytes]\n")


def test_files_are_blobs_of_the_launch(pie_core, tmp_path):
    program, first, second = tmp_path / "sizes.py", tmp_path / "a.png", tmp_path / "b.png"
    program.write_text("from inferlet import receive_blob\nasync def main():\n"
                       "    print(await receive_blob(), await receive_blob())\n")  # fmt: skip
    first.write_bytes(b"\x89PNG")
    second.write_bytes(b"")
    done = pie_core.run_fake("--blob", first, "--blob", second, program)
    assert (done.stdout, done.stderr, done.returncode) == ("b'\\x89PNG' b''\n", "", 0)
    done = pie_core.run_fake("--blob", tmp_path / "c.png", program)
    assert "c.png" in done.stderr and "does not exist" in done.stderr and done.returncode == 2


def test_a_trace_file_is_json_that_shows_the_life_of_the_program_to_its_end(pie_core, programs, tmp_path):
    path = tmp_path / "trace.json"
    assert pie_core.run_fake("--trace-file", path, programs / "fails.py").returncode == 1
    events = json.loads(path.read_text())
    (life,) = [event for event in events if event["ph"] == "B"]
    (end,) = [event for event in events if event["ph"] == "E"]
    assert life["args"].items() >= {"program": "fails", "user": "local"}.items()
    assert end["args"] == {"status": "failed", "error": "program"}


def test_json_is_one_event_per_line(pie_core, programs):
    done = pie_core.run_fake("--json", programs / "fails.py")
    message, ended = map(json.loads, done.stdout.splitlines())
    assert message == {"type": "message", "text": "so far so good"}
    assert (ended["status"], ended["code"], done.returncode) == ("failed", "program", 1)


def test_a_program_that_fails_shows_its_own_traceback_and_exit_code_1(pie_core, programs):
    done = pie_core.run_fake(programs / "fails.py")
    assert (done.stdout, done.returncode) == ("so far so good\n", 1)
    assert "fails.py" in done.stderr
    assert done.stderr.endswith("ValueError: no such luck\n")
    assert "pie_core" not in done.stderr


def test_lines_of_stdin_are_messages_with_interactive(pie_core, programs):
    done = pie_core.run_fake("-i", programs / "echo.py", stdin="one\ntwo\nbye")
    assert (done.stdout, done.stderr, done.returncode) == ("onetwo\ndone\n", "", 0)


def test_ctrl_c_stops_the_program_and_the_exit_code_is_130(pie_core, programs):
    arguments = ["run", "--backend", "fake", "--model", "fake", programs / "forever.py"]
    with pie_core.start(*arguments, PYTHONUNBUFFERED="1") as process:
        process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert errors == "stopped: interrupted\n"


def test_a_second_ctrl_c_ends_a_program_that_keeps_the_process_busy(pie_core, programs):
    arguments = ["run", "--backend", "fake", "--model", "fake", programs / "busy.py"]
    with pie_core.start(*arguments, PYTHONUNBUFFERED="1") as process:
        assert process.stdout.readline() == "busy now\n"
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert process.returncode in (130, 143)


def test_ctrl_c_while_the_model_loads_ends_at_once(pie_core, programs, tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    arguments = ["run", "--backend", "fake", "--model", "fake", "-o", f"gate={gate}", programs / "echo.py"]
    with pie_core.start(*arguments, "--log-level", "info") as process:
        while "model.loading" not in process.stderr.readline():
            pass
        while "weights" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert process.returncode == 130


def test_list_shows_the_installed_programs_with_packages_and_descriptions(pie_core):
    done = pie_core.run("run", "--list")
    assert done.returncode == 0
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("text_completion ")]
    assert line.split()[1:4] == ["pie-inferlets", "Complete", "a"]


BAD_INPUT = {
    "unknown backend": (["--backend", "torhc", "ECHO"], "no backends plugin is named 'torhc'"),
    "unknown backend, where to get it": (["--backend", "tpu", "ECHO"], "pie-backend-tpu"),
    "unknown model": (["--backend", "fake", "--model", "fakke", "ECHO"], "did you mean 'fake'"),
    "unknown directory": (["--backend", "fake", "--model", "./nowhere", "ECHO"], "./nowhere is not a directory"),
    "no such file": (["nowhere.py"], "nowhere.py does not exist"),
    "no such program": (["text_competition"], "did you mean 'text_completion'"),
    "a directory": (["."], "is a directory"),
    "syntax": (["SYNTAX"], "syntax.py:2:"),
    "no main": (["NO_MAIN"], "defines no `main`"),
    "not UTF-8": (["LATIN"], "cannot be read as UTF-8"),
    "unknown flag": (["text_completion", "--", "--promt", "x"], "unknown argument '--promt'"),
    "bad flag value": (["text_completion", "--", "--max-tokens", "many"], "takes int, got 'many'"),
    "misspelt option": (["FAKE", "-o", "page=3", "ECHO"], "no option 'page'; did you mean 'pages'"),
    "bad option value": (["FAKE", "-o", "pages=many", "ECHO"], "option pages=many: expected `int`, got `str`"),
    "option without value": (["FAKE", "-o", "pages", "ECHO"], "write NAME=VALUE"),
    "misspelt limit": (["FAKE", "--limit", "wall=3", "ECHO"], "did you mean 'wall_s'"),
    "bad host": (["FAKE", "--allow-host", "a.*", "ECHO"], "a host to allow: 'a.*'"),
    "bad limit value": (["FAKE", "--limit", "wall_s=soon", "ECHO"], "--limit wall_s=soon: expected `float`, got `str`"),
    "misspelt without": (["FAKE", "--without", "traits.tokenise", "ECHO"], "did you mean 'traits.tokenize'"),
    "misspelt prefer": (["FAKE", "--prefer", "pie-fakke", "ECHO"], "did you mean 'pie-fake'"),
    "a trait left out": (["FAKE", "--without", "traits.output_text", "text_completion"], "output_text"),
    "load failure": (["FAKE", "-o", "fail=no room", "ECHO"], "no room"),
    "no server": (["--server", "http://127.0.0.1:1", "ECHO"], "no pie-core server answers"),
    "not a server": (["--server", "localhost", "ECHO"], "not the address of a server"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_one_clear_message_and_exit_code_1(invoke, programs, tmp_path, monkeypatch, case):
    monkeypatch.syspath_prepend(INSTALLED)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "syntax.py").write_text("x = 1\nasync def main(:\n")
    (tmp_path / "no_main.py").write_text("x = 1\n")
    (tmp_path / "latin.py").write_bytes(b"# \xe4\n")
    names = {name.upper(): [f"{name}.py"] for name in ("syntax", "no_main", "latin")}
    names |= {"ECHO": [programs / "echo.py"], "FAKE": ["--backend", "fake", "--model", "fake"]}
    words, says = BAD_INPUT[case]
    done = invoke("run", *(part for word in words for part in names.get(word, [word])))
    assert (done.exit_code, done.stdout) == (1, ""), done
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert says in done.stderr


def test_debug_shows_where_an_error_comes_from(pie_core):
    done = pie_core.run("run", "nowhere.py", "--debug")
    assert done.stderr.startswith("Traceback")
    assert done.stderr.endswith("Error: nowhere.py does not exist\n")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["text_completion", "--prompt", "x"], "goes behind `--`: run PROGRAM -- --prompt"),
        ([], "name a PROGRAM"),
        (["--server", "http://127.0.0.1:1", "-o", "pages=3", "echo"], "leave it out with --server"),
        (["--server", "http://127.0.0.1:1", "--trace-file", "x", "echo"], "--trace-file is what the server was"),
    ],
)
def test_wrong_usage_says_how_to_use_it_and_is_exit_code_2(pie_core, words, says):
    done = pie_core.run("run", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in " ".join(done.stderr.split())


def test_an_inferlet_that_meets_a_limit_ends_with_its_name(pie_core, programs):
    done = pie_core.run_fake("--limit", "wall_s=0.05", programs / "echo.py")
    assert done.returncode == 1
    assert done.stderr.startswith("terminated: ")
    assert "0.05 s" in done.stderr
