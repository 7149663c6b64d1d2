"""A real time-stamp authority: `openssl ts -reply` behind HTTP on this machine alone."""

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

_CONF = """
[req]
distinguished_name = dn
prompt = no
[dn]
CN = never used
[root]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[authority]
basicConstraints = CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = critical, timeStamping
[bare]
basicConstraints = CA:FALSE
keyUsage = critical, digitalSignature
[tsa]
default_tsa = here
[here]
serial = {folder}/serial
signer_cert = {folder}/{name}.pem
signer_key = {folder}/tsa.key
signer_digest = {digest}
default_policy = 1.3.6.1.4.1.57264.2
digests = sha256, sha512
accuracy = secs:1, millisecs:500
clock_precision_digits = 3
ordering = yes
tsa_name = yes
{more}
"""


@dataclass(frozen=True)
class OpenSSL:
    """Certificates and keys in a folder, and the program that stamps with them."""

    folder: Path

    def run(self, *arguments: str, data: bytes = b"") -> bytes:
        # the time zone is for `-not_before` and `-attime`, which are of UTC
        done = subprocess.run(
            ["openssl", *arguments], cwd=self.folder, input=data, capture_output=True,
            timeout=60, check=False, env={**os.environ, "TZ": "UTC"},
        )  # fmt: skip
        if done.returncode != 0:
            raise RuntimeError(done.stderr.decode("utf-8", "replace")[-2000:])
        return done.stdout

    def write_conf(self, *, name: str = "tsa", digest: str = "sha256", more: str = "") -> str:
        """The name of a configuration under which the certificate of this name stamps."""
        file = f"{name}-{digest}-{abs(hash(more))}.cnf"
        (self.folder / file).write_text(
            _CONF.format(folder=self.folder, name=name, digest=digest, more=more)
        )
        return file

    def make_root(self, name: str = "root") -> None:
        conf = self.write_conf()
        self.run(
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key",
            "-out", f"{name}.pem", "-days", "3650", "-subj", f"/CN=Test {name}", "-config", conf,
            "-extensions", "root",
        )  # fmt: skip

    def make_key(self, kind: Sequence[str] = ("rsa:2048",)) -> None:
        self.run(
            "req", "-newkey", *kind, "-nodes", "-keyout", "tsa.key", "-out", "tsa.csr",
            "-subj", "/CN=Test TSA/O=Example", "-config", self.write_conf(),
        )  # fmt: skip

    def certify(
        self, name: str = "tsa", extensions: str = "authority", days: int = 30, by: str = "root"
    ) -> None:
        self.run(
            "x509", "-req", "-in", "tsa.csr", "-CA", f"{by}.pem", "-CAkey", f"{by}.key",
            "-CAcreateserial", "-out", f"{name}.pem", "-days", str(days),
            "-extfile", self.write_conf(), "-extensions", extensions,
        )  # fmt: skip

    def reply(self, query: bytes, conf: str) -> bytes:
        (self.folder / "query").write_bytes(query)
        arguments = ("-reply", "-config", conf, "-queryfile", "query", "-section", "here")
        return self.run("ts", *arguments)

    def accepts(self, token: bytes, text: bytes, root: str, at: int) -> bool:
        """What `openssl ts -verify` says of a token at a time."""
        for name, data in (("token", token), ("text", text)):
            (self.folder / name).write_bytes(data)
        try:
            self.run(
                "ts", "-verify", "-in", "token", "-token_in", "-data", "text",
                "-CAfile", f"{root}.pem", "-attime", str(at),
            )  # fmt: skip
        except RuntimeError:
            return False
        return True

    @contextmanager
    def serve(self, conf: str) -> Iterator[str]:
        """The URL at which it stamps while the block runs."""
        authority = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                query = self.rfile.read(min(int(self.headers["Content-Length"]), 4096))
                answer = authority.reply(query, conf)
                self.send_response(200)
                self.send_header("Content-Type", "application/timestamp-reply")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: object) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                yield f"http://127.0.0.1:{server.server_address[1]}/"
            finally:
                server.shutdown()
                thread.join()


def need_openssl() -> None:
    """Skip without it, or fail where nothing may be missing."""
    if shutil.which("openssl") is None:
        required = os.environ.get("MUNIMENT_REQUIRE_TARGETS") == "1"
        (pytest.fail if required else pytest.skip)("openssl is not installed")
