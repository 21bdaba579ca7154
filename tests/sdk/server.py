"""The real binary as a child process on free loopback ports, and an app in its sandbox.

What tests/browser/server.mjs is for Node. `LETSHARE_BIN` names the binary; without it the one in the
target folder of the workspace is taken.
"""

import os
import re
import signal
import socket
import subprocess
import tempfile
import threading
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 15
# The server promises to be gone 30 s after SIGTERM (`shutdown.grace`).
STOP_SECONDS = 35

SET_UP = {
    "keys": [{}, {"capability": '{"open:*":["*"],"read:*":["subscribe","history"]}'}],
    "namespaces": [{"id": "persisted", "persisted": True}],
}


class Server:
    """A running server with plain and TLS ports; `keys` are those of an app of its own."""

    def __init__(self):
        self._folder = tempfile.TemporaryDirectory(prefix="letshare-sdk-")
        folder = Path(self._folder.name)
        self.certificate = folder / "certificate.pem"
        secret = folder / "key.pem"
        _make_certificate(self.certificate, secret)
        self.port, self.tls_port = _free_ports(2)
        target = ROOT / os.environ.get("CARGO_TARGET_DIR", "target")
        binary = os.environ.get("LETSHARE_BIN", target / "debug" / "letshare-server")
        # Nothing of the caller's environment may change what is tested.
        environment = {
            "PATH": os.environ["PATH"],
            "MODE": "local",
            "LETSHARE_SERVER_HOST": "127.0.0.1",
            "LETSHARE_SERVER_PORT": str(self.port),
            "LETSHARE_TLS_ENABLED": "true",
            "LETSHARE_TLS_PORT": str(self.tls_port),
            "LETSHARE_TLS_CERT_FILE": str(self.certificate),
            "LETSHARE_TLS_KEY_FILE": str(secret),
            "LETSHARE_JWT_SECRET": "sdk-tests-jwt-secret-0123456789abcdef",
            "SERVER_AUTH_SECRET": "sdk-tests-static-secret-3b81d0",
            "LETSHARE_LOG_DIR": str(folder / "logs"),
            "LETSHARE_DATA_DIR": str(folder / "data"),
            "LETSHARE_ABLY_SANDBOX": "true",
        }
        self._child = subprocess.Popen(
            [str(binary)], cwd=ROOT, env=environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        self._output = []
        # Set by the line that says so, and by the end of the output.
        self._listening = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()
        try:
            if not self._listening.wait(START_SECONDS) or self._child.poll() is not None:
                raise RuntimeError(f"the server did not start; it said:\n{self.output()}")
            answer = httpx.post(f"http://127.0.0.1:{self.port}/apps", json=SET_UP)
            if answer.status_code != 201:
                raise RuntimeError(f"POST /apps: {answer.status_code} {answer.text}")
            self.keys = [key["keyStr"] for key in answer.json()["keys"]]
        except BaseException:
            self._child.kill()
            self._child.wait()
            self._folder.cleanup()
            raise

    @property
    def key(self):
        return self.keys[0]

    def output(self):
        return "".join(self._output)

    def stop(self):
        """SIGTERM, then the exit status; SIGKILL and an error when it takes longer than promised."""
        self._child.send_signal(signal.SIGTERM)
        try:
            status = self._child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            status = self._child.wait()
        self._folder.cleanup()
        if status != 0:
            raise RuntimeError(f"the server ended with {status}; it said:\n{self.output()}")

    def _read(self):
        for line in self._child.stdout:
            self._output.append(line)
            if re.search(r'"message":\s*"listening', line):
                self._listening.set()
        self._listening.set()


def _free_ports(many):
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(many)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def _make_certificate(certificate, secret):
    """A certificate for this machine's loopback that signs itself."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-days", "2", "-subj", "/CN=letshare-server tests",
         "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost",
         "-keyout", str(secret), "-out", str(certificate)],
        check=True, capture_output=True,
    )
