#!/usr/bin/env python3
"""Types the session of bellhop-protocol(7) into a daemon with the quick start's configuration, and holds every byte that
comes back against the page. `--print` shows what came back instead. What differs from run to run is masked."""
import re
import socket
import subprocess
import sys

from quickstart import TOP, Quickstart, until

# Masked in the page and in what comes back: values, and the header lengths that follow from them.
VARIES = [(rb"(?m)^(id|correlation-id|traceparent|session|node|time): .*", rb"\1: ..."),
          (rb"HELLO 0 \d+ 0 ", rb"HELLO 0 H 0 ")]


def transcript():
    page = (TOP / "man/bellhop-protocol.7").read_text()
    block = re.search(r"\.Bd -literal -offset indent\n((?:[<>] .*\n)+)\.Ed", page).group(1)
    block = block.replace("\\(dq", '"').replace("\\-", "-").replace("\\e", "\\")
    steps = []  # (typed bytes, expected bytes)
    for line in block.splitlines():
        if line[0] == ">":
            if not steps or steps[-1][1]:
                steps.append(([], []))
            steps[-1][0].append(line[2:])
        else:
            steps[-1][1].append(line[2:])
    return [("".join(f"{line}\n" for line in typed), "\n".join(answers)) for typed, answers in steps]


def mask(data):
    for pattern, replacement in VARIES:
        data = re.sub(pattern, replacement, data)
    return data


def receive(connection, seconds=0.7):
    """Everything until the daemon has been silent for a while."""
    connection.settimeout(seconds)
    data = b""
    try:
        while chunk := connection.recv(65536):
            data += chunk
    except TimeoutError:
        pass
    return data


def main():
    quick = Quickstart()
    daemon = quick.start(str(TOP / "build/bellhopd"), "-c", str(quick.config))
    service = None
    try:
        until(lambda: (quick.run / "bellhop.sock").exists() or daemon.poll() is not None, "the socket")
        service = subprocess.Popen([sys.executable, TOP / "clients/python/examples/math_service.py"],
                                   env={**quick.environment, "BELLHOP_SOCKET": str(quick.run / "bellhop.sock")})
        until(lambda: "math" in quick.said(), "the service")
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(quick.run / "bellhop.sock"))
        count = 0
        for typed, expected in transcript():
            connection.sendall(typed.encode())
            came = receive(connection)
            if "--print" in sys.argv:
                print("".join(f"> {line}\n" for line in typed.splitlines())
                      + "".join(f"< {line}\n" for line in came.decode().splitlines()), end="")
                continue
            assert mask(came).rstrip(b"\n") == mask(expected.encode()), f"{typed}\ncame:     {came}\nexpected: {expected}"
            count += 1
        if "--print" not in sys.argv:
            assert count >= 4, count
            print(f"transcript: {count} exchanges of bellhop-protocol(7) hold")
    finally:
        for process in (service, daemon):
            if process:
                process.terminate()
                process.wait(20)


main()
