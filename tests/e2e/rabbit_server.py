"""A real RabbitMQ in a folder of its own, on free ports of loopback: nothing of the host's own broker is touched."""
import atexit
import base64
import contextlib
import functools
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from amqp_raw import Amqp, Refused
from harness import free_port, wait_until

BIN = "/usr/lib/rabbitmq/bin"
START_S = 90


def password_hash(password):
    salt = os.urandom(4)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def definitions():
    """guest may do all; `reader` may only read; `nobody` nothing; `node` is who a certificate says."""
    def user(name, password):
        return {"name": name, "password_hash": password_hash(password), "tags": "",
                "hashing_algorithm": "rabbit_password_hashing_sha256"}

    def rights(name, configure, write, read, vhost="/"):
        return {"user": name, "vhost": vhost, "configure": configure, "write": write, "read": read}
    return {"users": [user("guest", "guest"), user("reader", "r"), user("nobody", "n"), user("node", "unused")],
            "vhosts": [{"name": "/"}, {"name": "shop/eu"}],
            "permissions": [rights("guest", ".*", ".*", ".*"), rights("guest", ".*", ".*", ".*", "shop/eu"),
                            rights("reader", "", "", ".*"), rights("node", ".*", ".*", ".*")]}


class Rabbit:
    """tls: harness.Certificates with a certificate `broker`; then there is a second port, tls_port."""

    def __init__(self, tls=None):
        self.folder = tempfile.mkdtemp(prefix="bellhop-rabbit-")
        self.port, self.dist, self.epmd_port = free_port(), free_port(), free_port()
        self.tls_port = free_port() if tls else None
        self.node = f"bellhop{self.port}@localhost"
        self.process = None
        self.write("enabled_plugins", "[rabbitmq_auth_mechanism_ssl]." if tls else "[].")
        self.write("definitions.json", json.dumps(definitions()))
        self.write("rabbitmq.conf", self.configuration(tls))
        self.environment = {
            "PATH": os.environ["PATH"], "HOME": self.folder, "LANG": "C.UTF-8",
            "RABBITMQ_NODENAME": self.node, "RABBITMQ_CONFIG_FILE": self.path("rabbitmq.conf"),
            "RABBITMQ_MNESIA_BASE": self.path("data"), "RABBITMQ_LOG_BASE": self.path("log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": self.path("enabled_plugins"), "RABBITMQ_PID_FILE": self.path("pid"),
            "RABBITMQ_DIST_PORT": str(self.dist), "ERL_EPMD_PORT": str(self.epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1", "RABBITMQ_CONF_ENV_FILE": "/dev/null"}
        # Started by us, so that none is left behind as a process of nobody's.
        self.epmd = subprocess.Popen(["epmd", "-port", str(self.epmd_port), "-address", "127.0.0.1"],
                                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.start()

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, text):
        with open(self.path(name), "w") as f:
            f.write(text)

    def configuration(self, tls):
        lines = [f"listeners.tcp.1 = 127.0.0.1:{self.port}", f"load_definitions = {self.path('definitions.json')}",
                 "log.file.level = info", "disk_free_limit.absolute = 1MB"]
        if tls:
            lines += [f"listeners.ssl.1 = 127.0.0.1:{self.tls_port}", f"ssl_options.cacertfile = {tls.path('ca.pem')}",
                      f"ssl_options.certfile = {tls.path('broker.pem')}", f"ssl_options.keyfile = {tls.path('broker.key')}",
                      "ssl_options.verify = verify_peer", "ssl_options.fail_if_no_peer_cert = true",
                      "ssl_options.versions.1 = tlsv1.3", "auth_mechanisms.1 = PLAIN", "auth_mechanisms.2 = EXTERNAL",
                      "ssl_cert_login_from = common_name"]
        return "\n".join(lines) + "\n"

    # ---- its life

    def start(self):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path("pid"))
        with open(self.path("out"), "ab") as out:
            self.process = subprocess.Popen([os.path.join(BIN, "rabbitmq-server")], env=self.environment, cwd=self.folder,
                                            stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
        wait_until(self.answers, "the broker", START_S)

    def answers(self):
        if self.process.poll() is not None:
            with open(self.path("out"), errors="replace") as f:
                raise AssertionError(f"the broker has ended with {self.process.returncode}:\n{f.read()[-3000:]}")
        try:
            self.connect().close()
            return True
        except (OSError, Refused):
            time.sleep(0.1)
            return False

    def pid(self):
        with open(self.path("pid")) as f:
            return int(f.read())

    def end(self, number):
        """Sends a signal to the broker and waits until it has gone."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid(), signal.SIGCONT)
            os.kill(self.pid(), number)
        self.process.wait(60)

    def restart(self, number=signal.SIGTERM):
        self.end(number)
        self.start()

    def stop_signal(self, number):
        os.kill(self.pid(), number)

    def ctl(self, *arguments):
        done = subprocess.run([os.path.join(BIN, "rabbitmqctl"), "-q", *arguments], env=self.environment,
                              capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise AssertionError(f"rabbitmqctl {arguments}: {done.stdout}{done.stderr}")
        return done.stdout

    def close(self):
        with contextlib.suppress(OSError, ValueError, subprocess.TimeoutExpired):
            self.end(signal.SIGKILL)
        self.epmd.kill()
        self.epmd.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    # ---- its clients

    def connect(self, **more):
        return Amqp(self.port, **more)

    def url(self, user="guest", password="guest", vhost="", port=None):
        return f"amqp://{user}:{password}@127.0.0.1:{port or self.port}/{vhost}"

    def gone(self):
        """The port is closed."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return False
        return True


@functools.cache
def shared():
    """One for the whole process: it takes long to start. Tests take names of their own, and leave it as it was."""
    rabbit = Rabbit()
    atexit.register(rabbit.close)
    return rabbit
