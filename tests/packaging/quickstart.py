"""conf/quickstart.yaml with free ports and a folder of its own, for the tests beside this file."""
import os
import pathlib
import re
import socket
import subprocess
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parent.parent.parent


class Quickstart:
    def __init__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="bellhop-")
        self.run = pathlib.Path(self.folder.name) / "run"
        self.run.mkdir(mode=0o700)
        self.tcp, self.http = free_ports(2)
        text = (TOP / "conf/quickstart.yaml").read_text()
        text, tcp = re.subn(r":4000\b", f":{self.tcp}", text)
        text, http = re.subn(r":9180\b", f":{self.http}", text)
        assert tcp and http, "conf/quickstart.yaml no longer listens on 4000 and 9180"
        self.config = pathlib.Path(self.folder.name) / "quickstart.yaml"
        self.config.write_text(text)
        self.environment = {**os.environ, "BELLHOP_RUN": str(self.run)}

    def start(self, *command, **options):
        self.output = pathlib.Path(self.folder.name) / "output"
        return subprocess.Popen(command, cwd=TOP, env=self.environment, stdout=self.output.open("wb"),
                                stderr=subprocess.STDOUT, **options)

    def said(self):
        return self.output.read_text()


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def until(condition, what, seconds=15):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(0.02)


def listens(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0
