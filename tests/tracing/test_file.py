"""The file: sound however the process ends, bounded however slow the disk is, and never in anybody's way."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from structlog.testing import capture_logs

from pie_core.errors import ConfigError
from pie_core.tracing.events import Span
from pie_core.tracing.file import LOST, TraceFile

from .reading import read


def now():
    return 2.5


def span(number):
    return Span("é" * 20, 1, 1, number, 1, {"number": number})


def numbers(events):
    return [event["args"]["number"] for event in events if event["ph"] == "X"]


def test_a_trace_that_was_closed_is_a_json_array_of_all_events(tmp_path):
    trace = TraceFile(tmp_path / "trace.json", now)
    for number in range(2000):
        trace.put(span(number))
    trace.close()
    trace.close()
    text = (tmp_path / "trace.json").read_text()
    assert text.endswith("]\n")
    assert numbers(read(text)) == list(range(2000))


def test_a_trace_of_nothing_is_an_empty_array(tmp_path):
    TraceFile(tmp_path / "trace.json", now).close()
    assert read((tmp_path / "trace.json").read_text()) == []


def test_a_trace_of_a_process_that_was_killed_only_lacks_its_end(tmp_path):
    program = """
        import os, signal, sys, time
        from pathlib import Path
        from pie_core.tracing.events import Span
        from pie_core.tracing.file import TraceFile

        path = Path(sys.argv[1])
        trace = TraceFile(path, time.monotonic)
        number = 0
        while path.stat().st_size < 200_000:
            trace.put(Span("something", 1, 1, number, 1, {"number": number}))
            number += 1
        os.kill(os.getpid(), signal.SIGKILL)
    """
    path = tmp_path / "trace.json"
    done = subprocess.run([sys.executable, "-c", dedent(program), path])
    assert done.returncode == -signal.SIGKILL
    found = numbers(read(path.read_text()))
    assert found == list(range(len(found)))
    assert len(found) > 2000


def test_an_event_lies_within_a_page_so_that_none_is_cut_in_half(tmp_path):
    trace = TraceFile(tmp_path / "trace.json", now)
    for number in range(2000):
        trace.put(Span("x" * (number % 300), 1, 1, number, 1, {"number": number}))
    trace.close()
    data = (tmp_path / "trace.json").read_bytes()
    starts = [found.start() for found in re.finditer(rb",?\n\{", data)]
    for start, end in zip(starts, [*starts[1:], len(data) - 3], strict=True):
        assert start // 4096 == (start + len(data[start:end].rstrip()) - 1) // 4096
    for cut in range(4096, len(data), 4096):
        assert numbers(read(data[:cut].decode())) == list(range(data[:cut].count(b"{", 2) // 2))


def test_a_full_disk_ends_the_trace_at_a_whole_event_with_one_warning(tmp_path):
    """The kernel lets the file grow to 100,000 bytes and no further: the last write is cut short."""
    program = """
        import resource, sys, time
        from pathlib import Path
        from structlog.testing import capture_logs
        from pie_core.tracing.events import Span
        from pie_core.tracing.file import TraceFile

        path = Path(sys.argv[1])
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        with capture_logs() as logs:
            trace = TraceFile(path, time.monotonic)
            for number in range(20_000):
                trace.put(Span("something", 1, 1, number, 1, {"number": number}))
            trace.close()
        print([event["event"] for event in logs])
    """
    path = tmp_path / "trace.json"
    done = subprocess.run([sys.executable, "-c", dedent(program), path], capture_output=True, text=True)
    assert done.stdout == "['trace.stopped']\n", done.stderr
    found = numbers(read(path.read_text()))
    assert found == list(range(len(found)))
    assert 0 < path.stat().st_size <= 100_000


def test_a_disk_that_takes_nothing_costs_no_memory():
    with capture_logs() as logs:
        trace = TraceFile(Path("/dev/full"), now)
        trace.put(span(0))
        trace._thread.join()
        for number in range(100):
            trace.put(span(number))
        assert not trace._waiting
        trace.close()
    assert [event["event"] for event in logs] == ["trace.stopped"]


def test_what_a_slow_disk_does_not_take_in_time_is_lost_and_counted(tmp_path, monkeypatch):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with capture_logs() as logs:
        trace = TraceFile(pipe, now, most=1000)
        for number in range(20_000):  # a pipe holds 64 KiB
            trace.put(span(number))
        assert len(trace._waiting) <= 1000
        os.set_blocking(reader, True)
        with os.fdopen(reader, encoding="utf-8") as stream:
            trace._closing = True
            trace._wake.set()
            events = read(stream.read())
        trace.close()
    found = numbers(events)
    assert found == sorted(found)
    lost = [event for event in events if event["name"] == LOST]
    assert {event["ts"] for event in lost} == {2_500_000}
    assert len(found) + sum(event["args"]["lost"] for event in lost) == 20_000
    assert {event["event"] for event in logs} == {"trace.behind"}


def test_a_file_that_cannot_be_made_is_an_error_that_names_it(tmp_path):
    with pytest.raises(ConfigError, match=r"--trace-file .*/nowhere/trace.json cannot be written: No such file"):
        TraceFile(tmp_path / "nowhere" / "trace.json", now)
