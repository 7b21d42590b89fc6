"""Asking a web server that may be slow or hostile: every wait ends, and redirects stay on the web.

`urllib` waits `timeout` seconds for *each* piece of an answer, so a server that sends a byte now and then is
never given up. Here every read of the socket ends at the deadline of the transfer, which moves on only when
enough of the content has come.
"""

from __future__ import annotations

import functools
import http.client
import io
import socket
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import IO, Any

__all__ = ["MINIMUM_RATE", "Deadline", "open_url"]

MINIMUM_RATE = 4096
"""Bytes of content a second, averaged over the timeout, below which a server is given up."""

_MOST_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_WEB = ("http", "https")


class Deadline:
    """The moment at which the transfer is given up, unless content comes fast enough.

    Parameters
    ----------
    timeout : float
        Seconds for the answer to begin, and then for each ``MINIMUM_RATE * timeout`` bytes of the content.

    Examples
    --------
    >>> deadline = Deadline(30.0)
    >>> 29 < deadline.remaining() <= 30
    True
    """

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self._restart()

    def _restart(self) -> None:
        self._end = time.monotonic() + self.timeout
        self._missing = MINIMUM_RATE * self.timeout

    def remaining(self) -> float:
        """Seconds that are left.

        Raises
        ------
        TimeoutError
            If none are.
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"timed out: too little came in {self.timeout:g} s")
        return left

    def begin_content(self) -> None:
        """Say that the answer has begun."""
        self._restart()

    def received(self, size: int) -> None:
        """Say that so many bytes of content have come."""
        self._missing -= size
        if self._missing <= 0:
            self._restart()


class _TimedReader(io.RawIOBase):
    """What a socket sends, read until the deadline and no longer."""

    def __init__(self, connected: socket.socket, deadline: Deadline) -> None:
        self._socket = connected
        self._stream = connected.makefile("rb", buffering=0)  # keeps the socket open until it is closed
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._socket.settimeout(self._deadline.remaining())
        return self._stream.readinto(buffer)

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()


class _TimedSocket:
    """The part of a socket that `http.client` uses."""

    def __init__(self, connected: socket.socket, deadline: Deadline) -> None:
        self._socket = connected
        self._deadline = deadline

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_TimedReader(self._socket, self._deadline))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


class _TimedConnection(http.client.HTTPConnection):
    def __init__(self, *arguments: Any, deadline: Deadline, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._deadline = deadline

    def connect(self) -> None:
        super().connect()
        self.sock: Any = _TimedSocket(self.sock, self._deadline)


class _TimedSecureConnection(http.client.HTTPSConnection):
    def __init__(self, *arguments: Any, deadline: Deadline, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._deadline = deadline

    def connect(self) -> None:
        super().connect()
        self.sock: Any = _TimedSocket(self.sock, self._deadline)


class _Handler(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
    """Opens web addresses over connections that end at the deadline."""

    def __init__(self, deadline: Deadline) -> None:
        super().__init__()
        self._timed = deadline

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(functools.partial(_TimedConnection, deadline=self._timed), request)

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        secure = functools.partial(_TimedSecureConnection, deadline=self._timed)
        return self.do_open(secure, request, context=ssl.create_default_context())


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Leaves redirects to `open_url`: urllib's own handler reads their content, however long it is."""

    def http_error_302(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
    ) -> None:
        return None

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def open_url(url: str, headers: Mapping[str, str], deadline: Deadline) -> Any:
    """Open an address and follow its redirects.

    Parameters
    ----------
    url : str
        An address of the web, or ``file:``.
    headers : mapping
        Sent to every server.
    deadline : Deadline
        The answer must begin before it.

    Returns
    -------
    response
        With ``status``, ``headers`` and ``read1``; a context manager.

    Raises
    ------
    OSError
        If there is no answer in time, or it is an error, a redirect that leads nowhere, too many redirects,
        or one that leaves the web or leads from https to http.
    http.client.HTTPException, ValueError
        If an answer or an address is malformed.
    """
    opener = urllib.request.build_opener(_Handler(deadline), _NoRedirects())
    for _redirect in range(_MOST_REDIRECTS + 1):
        request = urllib.request.Request(url, headers=dict(headers))
        try:
            response = opener.open(request, timeout=deadline.remaining())
        except urllib.error.HTTPError as error:
            with error:
                if error.code not in _REDIRECTS:
                    raise
                url = _redirected(url, error.headers.get("Location"))
            continue
        deadline.begin_content()
        return response
    raise urllib.error.URLError(f"more than {_MOST_REDIRECTS} redirects")


def _redirected(url: str, location: str | None) -> str:
    """Return the address that a redirect leads to."""
    if not location:
        raise urllib.error.URLError("a redirect without an address")
    target = urllib.parse.urljoin(url, location)
    before, after = urllib.parse.urlsplit(url).scheme, urllib.parse.urlsplit(target).scheme
    if after not in _WEB or (before, after) == ("https", "http"):
        raise urllib.error.URLError(f"a redirect from {before}: to {after[:20]!r} is not followed")
    return urllib.parse.quote(target, safe="%/:=&?~#+!$,;'@()*[]")
