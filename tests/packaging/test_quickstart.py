#!/usr/bin/env python3
"""The quick start as a newcomer meets it: the three commands it prints work when pasted anywhere, Ctrl-C ends it with 0
and leaves nothing behind, and a port that is taken is said plainly."""
import os
import pty
import re
import signal
import subprocess
import sys

from quickstart import TOP, Quickstart, listens, until

SCRIPT = str(TOP / "scripts/run-quickstart")
UP = "Ctrl-C stops it."


def paste(command):
    return subprocess.run(["bash", "-c", command], cwd="/", capture_output=True, text=True, timeout=20)


def check_commands(quick):
    commands = re.findall(r"^  (\S.*)$", quick.said().split("Bellhop is up")[1], re.M)
    assert len(commands) == 3, commands
    request, event, status = map(paste, commands)
    assert request.returncode == 0 and '"response":6' in request.stdout, request
    assert event.returncode == 0 and "accepted 1" in event.stdout, event
    until(lambda: '{"id": 7}' in quick.said().split(UP)[1], "the event")
    assert status.returncode == 0 and "math" in status.stdout, status


def check_taken(quick):
    second = subprocess.run([SCRIPT, str(quick.config)], env=quick.environment, capture_output=True, text=True,
                            stdin=subprocess.DEVNULL, timeout=20)
    assert second.returncode == 1 and f"Port {quick.tcp} is taken" in second.stderr, second


def check_gone(quick):
    until(lambda: not listens(quick.tcp) and not listens(quick.http), "closed ports")
    left = subprocess.run(["pgrep", "-f", str(quick.folder.name)], capture_output=True, text=True).stdout.split()
    assert not left, f"left behind: {left}"
    left = [p.name for p in quick.run.iterdir()]
    assert left == ["store"], left  # what is durable stays


def plain():
    quick = Quickstart()
    process = quick.start(SCRIPT, str(quick.config), stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        until(lambda: UP in quick.said() or process.poll() is not None, "the start")
        assert process.poll() is None, quick.said()
        assert " warn " not in quick.said(), quick.said()
        check_commands(quick)
        check_taken(quick)
        os.killpg(process.pid, signal.SIGINT)
        try:
            assert process.wait(20) == 0, quick.said()
        except subprocess.TimeoutExpired:
            raise AssertionError(quick.said()) from None
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(20)
    check_gone(quick)


def terminal():
    """On a terminal, below make: Ctrl-C is no error there either."""
    quick = Quickstart()
    makefile = f"{quick.folder.name}/Makefile"
    with open(makefile, "w") as f:
        f.write(f"run:\n\t@{SCRIPT} {quick.config}\n")
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(quick.environment)
        os.execvp("make", ["make", "-f", makefile, "run"])
    said = b""
    while UP.encode() not in said:
        said += os.read(terminal, 65536)
    os.write(terminal, b"\x03")
    try:
        while chunk := os.read(terminal, 65536):
            said += chunk
    except OSError:  # the other side is closed
        pass
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status == 0 and b"***" not in said, (status, said.decode())
    check_gone(quick)


signal.signal(signal.SIGINT, signal.default_int_handler)  # who started us in the background had it ignored, for children too
signal.alarm(90)
plain()
terminal()
print("quickstart: three commands answered, Ctrl-C ends it with 0, a taken port is named")
sys.exit(0)
