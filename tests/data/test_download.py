"""Downloads from a real local HTTP server: checked, atomic, resumable."""

import os
import threading
import time

import pytest

from file_server import CONTENT, Behaviour, remote
from qpsbgd.data.download import DownloadError, fetch


def leave_partial(target, content: bytes) -> None:
    target.with_name(target.name + ".part").write_bytes(content)


def only_entry(folder) -> str:
    (entry,) = folder.iterdir()
    return entry.name


def test_download_gives_the_file_and_leaves_nothing_else(server, tmp_path):
    target = tmp_path / "file"
    assert fetch(remote(server(Behaviour())), target) == target
    assert target.read_bytes() == CONTENT
    assert only_entry(tmp_path) == "file"


def test_present_file_is_not_downloaded_again(server, tmp_path):
    behaviour = Behaviour()
    source = remote(server(behaviour))
    fetch(source, tmp_path / "file")
    fetch(source, tmp_path / "file")
    assert len(behaviour.ranges) == 1


def test_partial_download_is_resumed_where_it_ended(server, tmp_path):
    behaviour = Behaviour()
    leave_partial(tmp_path / "file", CONTENT[:1000])
    assert fetch(remote(server(behaviour)), tmp_path / "file").read_bytes() == CONTENT
    assert behaviour.ranges == ["bytes=1000-"]


def test_server_without_ranges_restarts_the_download(server, tmp_path):
    leave_partial(tmp_path / "file", b"x" * 1000)
    source = remote(server(Behaviour(honours_range=False)))
    assert fetch(source, tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize(
    "stale", [b"x" * 1000, b"x" * len(CONTENT), b"x" * (len(CONTENT) + 5)], ids=["short", "whole", "overlong"]
)
def test_stale_partial_is_thrown_away(server, tmp_path, stale):
    leave_partial(tmp_path / "file", stale)
    assert fetch(remote(server(Behaviour())), tmp_path / "file").read_bytes() == CONTENT


def test_complete_partial_needs_no_server(tmp_path):
    leave_partial(tmp_path / "file", CONTENT)
    assert fetch(remote("http://127.0.0.1:9/unused"), tmp_path / "file").read_bytes() == CONTENT


def test_range_that_does_not_continue_the_partial_is_not_used(server, tmp_path):
    leave_partial(tmp_path / "file", CONTENT[:1000])
    source = remote(server(Behaviour(wrong_range_start=True)))
    assert fetch(source, tmp_path / "file").read_bytes() == CONTENT


def test_broken_transfer_is_continued(server, tmp_path):
    behaviour = Behaviour(breaks_after=len(CONTENT) // 2)
    assert fetch(remote(server(behaviour)), tmp_path / "file").read_bytes() == CONTENT
    assert behaviour.ranges == [None, f"bytes={len(CONTENT) // 2}-"]


def test_server_that_always_breaks_is_given_up_but_its_bytes_are_kept(server, tmp_path):
    source = remote(server(Behaviour(breaks_after=100)))
    with pytest.raises(DownloadError, match="ended after 300 of"):
        fetch(source, tmp_path / "file")
    assert (tmp_path / "file.part").read_bytes() == CONTENT[:300]


def test_wrong_content_is_refused(server, tmp_path):
    source = remote(server(Behaviour(content=b"y" * len(CONTENT))))
    with pytest.raises(DownloadError, match=r"cannot download file: .*sha256 is .*expected"):
        fetch(source, tmp_path / "file")
    assert not (tmp_path / "file").exists()


def test_too_long_content_is_refused(server, tmp_path):
    source = remote(server(Behaviour(content=CONTENT * 2)))
    with pytest.raises(DownloadError, match=f"expected {len(CONTENT)}"):
        fetch(source, tmp_path / "file")


def test_second_mirror_is_asked_when_the_first_has_no_file(server, tmp_path):
    missing, present = Behaviour(status=404), Behaviour()
    assert fetch(remote(server(missing), server(present)), tmp_path / "file").read_bytes() == CONTENT
    assert len(missing.ranges) == len(present.ranges) == 1


def test_second_mirror_is_asked_when_the_first_has_another_file(server, tmp_path):
    source = remote(server(Behaviour(content=b"not the file")), server(Behaviour()))
    assert fetch(source, tmp_path / "file").read_bytes() == CONTENT


def test_error_names_every_mirror_and_its_reason(server, tmp_path):
    first, second = server(Behaviour(status=404)), server(Behaviour(status=503))
    with pytest.raises(DownloadError) as caught:
        fetch(remote(first, second), tmp_path / "file")
    assert f"{first}: HTTP 404" in str(caught.value)
    assert f"{second}: HTTP 503" in str(caught.value)


def test_silent_server_is_given_up_after_the_timeout(tmp_path):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/file"
        with pytest.raises(DownloadError, match="timed out"):
            fetch(remote(url), tmp_path / "file", timeout=0.1)


def test_corrupt_file_on_disk_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"y" * len(CONTENT))
    with pytest.raises(DownloadError, match=r"file is corrupt: its sha256 is .*delete it"):
        fetch(remote("http://127.0.0.1:9/unused"), tmp_path / "file")


def test_simultaneous_downloads_all_get_the_file(server, tmp_path):
    behaviour = Behaviour()
    source = remote(server(behaviour))
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(fetch(source, tmp_path / "file").read_bytes()))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [CONTENT] * 4
    assert len(behaviour.ranges) == 1


@pytest.mark.parametrize("what", ["content", "headers", "interim answers"])
def test_server_that_trickles_is_given_up_and_the_next_mirror_asked(server, tmp_path, what):
    source = remote(server(Behaviour(trickles=what)), server(Behaviour()))
    started = time.monotonic()
    assert fetch(source, tmp_path / "file", timeout=0.3).read_bytes() == CONTENT
    assert time.monotonic() - started < 5


def test_slow_but_steady_server_is_waited_for(tmp_path, server, monkeypatch):
    monkeypatch.setattr("qpsbgd.data.http.MINIMUM_RATE", 20)  # the server gives up to 50 bytes a second
    content = CONTENT[:40]
    source = remote(server(Behaviour(content, trickles="content")), content=content)
    assert fetch(source, tmp_path / "file", timeout=0.4).read_bytes() == content  # takes longer than that


@pytest.mark.parametrize(
    "location",
    [
        "http://[broken",
        "http://127.0.0.1:99999999/",
        "http://127.0.0.1:port/",
        "http://\xff\xff/",
        "",
        "ftp://127.0.0.1/file",
        "file:///etc/hostname",
        "data:text/plain,x",
        "javascript:0",
    ],
)
def test_redirect_that_leads_nowhere_or_off_the_web_is_not_followed(server, tmp_path, location):
    bad, good = Behaviour(status=302, headers={"Location": location}), Behaviour()
    source = remote(server(bad), server(good))
    assert fetch(source, tmp_path / "file").read_bytes() == CONTENT
    assert len(bad.ranges) == len(good.ranges) == 1


def test_redirect_to_a_file_reads_no_file(server, tmp_path):
    """Even one with the right content."""
    (tmp_path / "secret").write_bytes(CONTENT)
    target = (tmp_path / "secret").as_uri()
    with pytest.raises(DownloadError, match="redirect from http: to 'file' is not followed"):
        fetch(remote(server(Behaviour(status=301, headers={"Location": target}))), tmp_path / "file")


def test_redirects_on_the_web_are_followed_but_not_for_ever(server, tmp_path):
    good = server(Behaviour())
    hops = [server(Behaviour(status=307, headers={"Location": good}))]
    hops.append(server(Behaviour(status=302, headers={"Location": hops[0]})))
    assert fetch(remote(hops[-1]), tmp_path / "file").read_bytes() == CONTENT
    circle = Behaviour(status=302)
    url = server(circle)
    circle.headers["Location"] = url
    with pytest.raises(DownloadError, match="more than 5 redirects"):
        fetch(remote(url), tmp_path / "other")
    assert len(circle.ranges) == 6


@pytest.mark.parametrize(
    "content_range",
    [
        "bytes",
        "bytes x-y/z",
        f"bytes {'9' * 5000}-1/2",
        "bytes 1000-",
        "items 1000-1/9",
        "\xb2",
        "bytes -1-5/9",
    ],
)
def test_malformed_content_range_leads_to_the_next_mirror(server, tmp_path, content_range):
    leave_partial(tmp_path / "file", CONTENT[:1000])
    bad = Behaviour(headers={"Content-Range": content_range})
    assert fetch(remote(server(bad), server(Behaviour())), tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Length": "many"},
        {"Content-Length": "-5"},
        {"Content-Length": "9" * 5000},
        {"Content-Length": "7"},
        {"Content-Length": str(len(CONTENT) + 9)},
        {"Transfer-Encoding": "chunked"},
    ],
    ids=str,
)
def test_lying_headers_end_in_the_file_or_at_the_next_mirror(server, tmp_path, headers):
    source = remote(server(Behaviour(headers=headers)), server(Behaviour()))
    assert fetch(source, tmp_path / "file").read_bytes() == CONTENT


def test_endless_content_is_not_read_beyond_the_expected_size(server, tmp_path):
    source = remote(server(Behaviour(content=CONTENT * 20)))
    with pytest.raises(DownloadError, match="expected"):
        fetch(source, tmp_path / "file")
    assert (tmp_path / "file.part").stat().st_size < len(CONTENT) + (1 << 17)


def link_to(target, part) -> None:
    part.symlink_to(target)


@pytest.mark.skipif(os.name != "posix", reason="links need rights elsewhere")
@pytest.mark.parametrize("make_link", [link_to, os.link], ids=["symbolic", "hard"])
def test_link_in_the_place_of_the_partial_file_is_not_followed(server, tmp_path, make_link):
    (tmp_path / "theirs").write_bytes(b"precious")
    make_link(tmp_path / "theirs", tmp_path / "file.part")
    assert fetch(remote(server(Behaviour())), tmp_path / "file").read_bytes() == CONTENT
    assert (tmp_path / "theirs").read_bytes() == b"precious"
    assert not (tmp_path / "file").is_symlink()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_pipe_in_the_place_of_the_partial_file_does_not_block(server, tmp_path):
    os.mkfifo(tmp_path / "file.part")
    assert fetch(remote(server(Behaviour())), tmp_path / "file").read_bytes() == CONTENT
