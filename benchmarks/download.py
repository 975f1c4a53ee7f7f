"""Claim: a verified download costs little more than the bytes, and no memory.

One stream on loopback, five times each in turn: `http_transfer.download` with its running
checksum against `curl` followed by `md5sum`; and the memory that it takes at its peak, for
an archive of 0.2 and of 2 GB; over HTTP, and over HTTPS with a certificate made for it.
"""

import hashlib
import http.server
import json
import multiprocessing
import os
import random
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIZES = (200_000_000, 2_000_000_000)
REPEATS = 5

# In a process of its own, as a notebook is one; its imports are not counted as download.
OURS = """
import json, resource, sys, time
from pathlib import Path
from cxr.fetch import http_transfer

url, path, size, md5 = sys.argv[1:]
start = time.perf_counter()
http_transfer.download(url, Path(path), size=int(size), md5=md5)
seconds = time.perf_counter() - start
print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000]))
"""


def serve(folder: str, port, certificate: str | None) -> None:
    """Send files with `sendfile`, so that the server costs as little as it can."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def __init__(self, *arguments):
            super().__init__(*arguments, directory=folder)

        def copyfile(self, source, outputfile):
            if certificate is None:
                self.connection.sendfile(source)
                return
            # Python's own sendfile over TLS sends 8 kB at a time.
            while piece := source.read(1 << 20):
                self.connection.sendall(piece)

        def log_message(self, format, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        port.send(server.server_port)
        server.serve_forever()


def write_noise(path: Path, size: int) -> str:
    """A file that does not compress; returns its MD5."""
    digest, block = hashlib.md5(), random.Random(1).randbytes(1_000_000)
    with path.open("wb") as file:
        for number in range(size // len(block)):
            piece = block[number % 1000 :] + block[: number % 1000]
            file.write(piece)
            digest.update(piece)
    return digest.hexdigest()


def make_certificate(path: Path) -> None:
    """A certificate of 127.0.0.1, signed by itself, with its key."""
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    command += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-keyout", f"{path}.key", "-out", f"{path}.crt"]
    subprocess.run(command, check=True, capture_output=True)
    path.write_bytes(Path(f"{path}.key").read_bytes() + Path(f"{path}.crt").read_bytes())


def compare(folder: Path, address: str, size: int, certificate: Path) -> None:
    """One line of the table."""
    source, target = folder / f"{size}", folder / "target"
    md5 = write_noise(source, size)
    theirs, ours, memory = [], [], 0.0
    trusted = os.environ | {"REQUESTS_CA_BUNDLE": f"{certificate}.crt"}
    curl = ["curl", "-s", "--cacert", f"{certificate}.crt", "-o", target, f"{address}/{size}"]
    for _ in range(REPEATS):
        start = time.perf_counter()
        subprocess.run(curl, check=True)
        found = subprocess.run(["md5sum", target], check=True, capture_output=True)
        theirs.append(time.perf_counter() - start)
        assert found.stdout.startswith(md5.encode())
        target.unlink()
        command = [sys.executable, "-c", OURS, f"{address}/{size}", target, str(size), md5]
        run = subprocess.run(command, check=True, capture_output=True, env=trusted)
        seconds, megabytes = json.loads(run.stdout)
        ours.append(seconds)
        memory = max(memory, megabytes)
        target.unlink()
    # The ratio of each pair, since the machine's other load changes between them.
    ratio = statistics.median(t / o for t, o in zip(theirs, ours, strict=True))
    speeds = [size / statistics.median(times) / 1e6 for times in (theirs, ours)]
    print(
        f"{address.partition(':')[0]:>6}  {size / 1e9:>5.1f} GB  {speeds[0]:>10.0f} MB/s  "
        f"{speeds[1]:>7.0f} MB/s  {ratio:>5.2f}  {memory:>6.0f} MB",
        flush=True,
    )
    source.unlink()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        certificate = Path(folder, "certificate")
        make_certificate(certificate)
        print(
            f"{'':>6}  {'archive':>8}  {'curl + md5sum':>15}  {'ours':>12}  {'ratio':>5}  peak RSS"
        )
        for scheme in ("http", "https"):
            receive, send = multiprocessing.Pipe(duplex=False)
            signed = str(certificate) if scheme == "https" else None
            server = multiprocessing.Process(target=serve, args=(folder, send, signed), daemon=True)
            server.start()
            address = f"{scheme}://127.0.0.1:{receive.recv()}"
            for size in SIZES:
                compare(Path(folder), address, size, certificate)
            server.terminate()


if __name__ == "__main__":
    main()
