"""`pie-core` and `python` as new processes without seconds of imports: forks of one that has imported what they need.

    python forks.py SOCKET              serves
    python forks.py SOCKET pie-core ... has it run a command, with this one's directory, environment and streams

A command ends with the one that asked for it. Nothing of pytest is in these processes.
"""

import contextlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import traceback
from pathlib import Path

PRELOADED = ("torch", "transformers", "openai", "uvicorn", "pie_core.cli", "pie_core.server.serve", "pie_core.client")
STREAMS = (0, 1, 2)


def serve(address):
    """Until it is killed."""
    for module in PRELOADED:
        __import__(module)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that attend to commands
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        print("ready", flush=True)
        while True:
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                attend(connection)
            connection.close()


def attend(connection):
    """Run one command and tell its exit code; end it if whoever asked has gone."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    message, streams, _, _ = socket.recv_fds(connection, 1 << 20, len(STREAMS))
    worker = os.fork()
    if worker == 0:
        connection.close()
        for stream, wanted in zip(streams, STREAMS, strict=True):
            os.dup2(stream, wanted)
            os.close(stream)
        os._exit(run(**json.loads(message)))
    for stream in (*streams, *STREAMS):
        os.close(stream)
    handle = os.pidfd_open(worker)
    ready, _, _ = select.select([handle, connection], [], [])
    if handle not in ready:
        os.kill(worker, signal.SIGTERM)
    _, status = os.waitpid(worker, 0)
    with contextlib.suppress(OSError):
        connection.sendall(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def run(command, directory, environment):
    """In the new process: the exit code."""
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    code = 0
    try:
        if command[0] == "pie-core":
            from pie_core.cli import main

            sys.argv = command
            main(prog_name="pie-core")
        else:
            sys.argv = command[1:]
            sys.path.insert(0, directory)
            runpy.run_path(command[1], run_name="__main__")
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    return code


def ask(address, command):
    """Have a command run: its exit code."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        request = {"command": command, "directory": str(Path.cwd()), "environment": dict(os.environ)}
        socket.send_fds(connection, [json.dumps(request).encode()], STREAMS)
        return int(connection.recv(16) or b"1")


if __name__ == "__main__":
    if len(sys.argv) == 2:
        serve(sys.argv[1])
    sys.exit(ask(sys.argv[1], sys.argv[2:]))
