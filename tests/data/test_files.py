"""Files are written whole or not at all, with the permissions of every new file."""

import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from qpsbgd.data.files import atomic_write

posix_only = pytest.mark.skipif(os.name != "posix", reason="permissions as POSIX has them")


@pytest.fixture
def umask(request):
    """Set the umask that a test asks for, and put the one before back."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode_of(path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@posix_only
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o027, 0o077], indirect=True, ids=oct)
def test_written_file_has_the_permissions_of_every_new_file(umask, tmp_path):
    with atomic_write(tmp_path / "ours") as file:
        file.write(b"x")
    (tmp_path / "plain").write_bytes(b"x")
    assert mode_of(tmp_path / "ours") == mode_of(tmp_path / "plain") == 0o666 & ~umask


@posix_only
@pytest.mark.parametrize("umask", [0o077], indirect=True, ids=oct)
def test_file_is_private_already_while_it_is_written(umask, tmp_path):
    with atomic_write(tmp_path / "ours"):
        (temporary,) = tmp_path.iterdir()
        assert mode_of(temporary) == 0o600


@posix_only
@pytest.mark.parametrize("umask", [0o022], indirect=True, ids=oct)
def test_files_of_other_threads_keep_their_permissions(umask, tmp_path, monkeypatch):
    """Whenever the code touches the umask, another thread makes a file at that very moment."""
    set_umask = os.umask

    def make_file():
        (tmp_path / f"other{len(os.listdir(tmp_path))}").write_bytes(b"x")

    def umask_seen_by_another_thread(mask):
        before = set_umask(mask)
        other = threading.Thread(target=make_file)
        other.start()
        other.join()
        return before

    monkeypatch.setattr(os, "umask", umask_seen_by_another_thread)
    make_file()
    with atomic_write(tmp_path / "ours") as file:
        file.write(b"x")
    assert {mode_of(path) for path in tmp_path.iterdir()} == {0o644}


def test_threads_that_write_one_file_leave_the_whole_content_of_one_of_them(tmp_path):
    contents = [bytes([letter]) * 100_000 for letter in b"abcd"]

    def write(content):
        for _ in range(5):
            with atomic_write(tmp_path / "ours") as file:
                file.write(content)

    with ThreadPoolExecutor(len(contents)) as pool:
        list(pool.map(write, contents))
    assert [path.name for path in tmp_path.iterdir()] == ["ours"]
    assert (tmp_path / "ours").read_bytes() in contents


def test_error_in_the_block_leaves_the_old_content_and_nothing_else(tmp_path):
    def write_half():
        with atomic_write(tmp_path / "ours") as file:
            file.write(b"half")
            raise KeyboardInterrupt

    (tmp_path / "ours").write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_reader_sees_the_old_content_until_the_block_ends(tmp_path):
    (tmp_path / "ours").write_bytes(b"old")
    with atomic_write(tmp_path / "ours") as file:
        file.write(b"new")
        file.flush()
        assert (tmp_path / "ours").read_bytes() == b"old"
    assert (tmp_path / "ours").read_bytes() == b"new"


def test_content_and_rename_are_on_disk_when_the_block_has_ended(tmp_path, monkeypatch):
    """Durable in this order: the content, then the rename, which is the folder's content."""
    events = []
    fsync, replace = os.fsync, type(tmp_path).replace

    def kind(handle):
        return "folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file"

    monkeypatch.setattr(os, "fsync", lambda handle: (events.append(f"fsync {kind(handle)}"), fsync(handle)))
    monkeypatch.setattr(
        type(tmp_path), "replace", lambda self, target: (events.append("rename"), replace(self, target))[1]
    )
    with atomic_write(tmp_path / "ours") as file:
        file.write(b"x")
    expected = ["fsync file", "rename", "fsync folder"]
    assert events == (expected if hasattr(os, "O_DIRECTORY") else expected[:2])
