"""The process of a real broker, in a folder of its own, on one port."""
import os
import shutil
import signal
import ssl
import subprocess
import tempfile
import time

from harness import free_port, wait_until


class BrokerProcess:
    """A subclass sets `program` and has command() and answers(): whether the broker is there; OSError = not yet."""
    program = ""

    def __init__(self, port=None, folder=None, tls=None):
        """tls: (ca, certificate, key) as paths; clients must show one."""
        self.port, self.tls, self.process, self.log = port or free_port(), tls, None, None
        self.own_folder = folder is None
        self.folder = folder or tempfile.mkdtemp(prefix=f"bellhop-{self.program}-")

    def start(self):
        self.log = open(os.path.join(self.folder, "log"), "ab")
        self.process = subprocess.Popen([self.program, *self.command()], stdin=subprocess.DEVNULL, stdout=self.log,
                                        stderr=self.log, cwd=self.folder)
        wait_until(self._is_there, f"{self.program} on port {self.port}")

    def _is_there(self):
        if self.process.poll() is not None:
            with open(os.path.join(self.folder, "log")) as f:
                raise AssertionError(f"{self.program} ended: " + f.read()[-2000:])
        try:
            return self.answers()
        except OSError:
            return False

    def context(self):
        if not self.tls:
            return None
        context = ssl.create_default_context(cafile=self.tls[0])
        context.load_cert_chain(self.tls[1], self.tls[2])
        return context

    def stop(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(number)
            self.process.wait()
        self.log.close()

    def kill(self):
        self.stop(signal.SIGKILL)

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def restart(self, down=0.0):
        """Dies, and is there again on the same port with what it had on disk."""
        self.kill()
        time.sleep(down)
        self.start()

    def close(self):
        if self.process is not None:
            self.kill()
        if self.own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)
