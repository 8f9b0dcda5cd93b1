"""A bellhopd in a private folder."""
import os
import signal
import socket
import subprocess
import time

CONFIG = """\
version: 1
node: conformance
local:
  socket: {folder}/bellhop.sock
admin:
  socket: {folder}/admin.sock
log: {{ level: {level}, format: text }}
limits: {{ body: 1MiB }}
policies:
  default:
    timeout: 500ms
    retry:   {{ attempts: 3, delay: 20ms, max_delay: 100ms }}
    breaker: {{ failures: 1000 }}
  patient: {{ timeout: 20s }}
services:
  unit: {{ publish: [">"], subscribe: [">"] }}
  ref:  {{ publish: [">"], subscribe: [">"] }}
routes:
  - {{ name: sum,        from: local, match: {{ cmd: sum }}, to: unit }}
  - {{ name: unit,       from: local, match: "conf.>",     to: unit }}
  - {{ name: unit-utf8,  from: local, match: "zażółć.*",   to: unit }}
  - {{ name: flood,      from: local, match: "ref.flood",  to: ref, policy: patient }}
  - {{ name: ref,        from: local, match: "ref.>",      to: ref }}
  - {{ name: ref-utf8,   from: local, match: "żółw.*",     to: ref }}
"""


class Daemon:
    def __init__(self, program, folder, verbose=False):
        self.program, self.folder, self.process = program, folder, None
        self.socket = os.path.join(folder, "bellhop.sock")
        self.config, self.log = os.path.join(folder, "bellhop.yaml"), os.path.join(folder, "log")
        with open(self.config, "w") as f:
            f.write(CONFIG.format(folder=folder, level="debug" if verbose else "info"))

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([self.program, "-c", self.config], stdout=log, stderr=log)
        until = time.monotonic() + 10
        while True:
            probe = socket.socket(socket.AF_UNIX)
            try:
                probe.connect(self.socket)
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"{self.program} did not start:\n{self.tail()}") from None
                time.sleep(0.01)
            finally:
                probe.close()

    def stop(self, number=signal.SIGTERM, timeout=15):
        """Returns the exit status."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        self.process = None
        return status

    def tail(self, lines=20):
        with open(self.log, errors="replace") as f:
            return "".join(f.readlines()[-lines:])
