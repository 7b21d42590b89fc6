"""A real HTTP server for tests of downloads: honest, broken or wrong, as a test asks."""

import contextlib
import hashlib
import threading
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
    ranges: list[str | None] = field(default_factory=list)


@contextlib.contextmanager
def file_server():
    """Run a server; yields a function (behaviour) -> URL."""
    behaviours: dict[str, Behaviour] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            behaviour = behaviours[self.path]
            asked = self.headers.get("Range")
            behaviour.ranges.append(asked)
            if behaviour.status != 200:
                self.send_error(behaviour.status)
                return
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and behaviour.honours_range else 0
            if start >= len(behaviour.content):
                self.send_error(416)
                return
            body = behaviour.content[start:]
            self.send_response(206 if start else 200)
            if start:
                shown = start + behaviour.wrong_range_start
                total = len(behaviour.content)
                self.send_header("Content-Range", f"bytes {shown}-{total - 1}/{total}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                self.wfile.write(body if behaviour.breaks_after is None else body[: behaviour.breaks_after])

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
    http_server.shutdown()
    http_server.server_close()
    thread.join()


def remote(*urls: str, content: bytes = CONTENT) -> RemoteFile:
    return RemoteFile(urls, hashlib.sha256(content).hexdigest(), len(content))
