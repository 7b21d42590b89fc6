"""A real HTTP server for tests of downloads: honest, broken or wrong, as a test asks."""

import contextlib
import hashlib
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from qpsbgd.data.download import RemoteFile

CONTENT = bytes(range(256)) * 1200  # several chunks


@dataclass
class Behaviour:
    """How the server answers for one path, and which Range headers it was asked with."""

    content: bytes = CONTENT
    honours_range: bool = True
    breaks_after: int | None = None
    status: int = 200
    wrong_range_start: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    """Sent beside the others, or in their place."""
    trickles: str = ""
    """What comes byte by byte, with pauses: "content", "headers" or "interim answers"."""
    ranges: list[str | None] = field(default_factory=list)


@contextlib.contextmanager
def file_server():
    """Run a server; yields a function (behaviour) -> URL."""
    behaviours: dict[str, Behaviour] = {}
    stopped = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            behaviour = behaviours[self.path]
            asked = self.headers.get("Range")
            behaviour.ranges.append(asked)
            if behaviour.status != 200:
                self.send_response(behaviour.status)
                for name, value in behaviour.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                return
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and behaviour.honours_range else 0
            if start >= len(behaviour.content):
                self.send_error(416)
                return
            if behaviour.trickles in ("headers", "interim answers"):
                self.trickle_head(behaviour.trickles)
                return
            body = behaviour.content[start:]
            self.send_response(206 if start else 200)
            headers = {"Content-Length": str(len(body)), **behaviour.headers}
            if start:
                shown = start + behaviour.wrong_range_start
                total = len(behaviour.content)
                headers = {"Content-Range": f"bytes {shown}-{total - 1}/{total}", **headers}
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                if behaviour.trickles:
                    self.trickle(body)
                self.wfile.write(body if behaviour.breaks_after is None else body[: behaviour.breaks_after])

        def trickle(self, content):
            with contextlib.suppress(ConnectionError):
                for byte in content:
                    if stopped.is_set():
                        return
                    self.wfile.write(bytes([byte]))
                    time.sleep(0.02)

        def trickle_head(self, what):
            if what == "headers":
                self.trickle(b"HTTP/1.1 200 OK\r\n" + b"X-Filler: x\r\n" * 10_000)
                return
            with contextlib.suppress(ConnectionError):
                while not stopped.is_set():
                    self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                    time.sleep(0.02)

        def log_message(self, *_arguments):
            pass

    http_server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http_server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()

    def serve(behaviour: Behaviour) -> str:
        path = f"/{len(behaviours)}"
        behaviours[path] = behaviour
        return f"http://127.0.0.1:{http_server.server_port}{path}"

    yield serve
    stopped.set()
    http_server.shutdown()
    http_server.server_close()
    thread.join()


def remote(*urls: str, content: bytes = CONTENT) -> RemoteFile:
    return RemoteFile(urls, hashlib.sha256(content).hexdigest(), len(content))
