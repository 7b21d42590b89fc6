"""A real disk of a few kilobytes, to see what happens when it is full or read-only."""

import contextlib
import shutil
import subprocess

import pytest


@contextlib.contextmanager
def small_disk(folder, kilobytes: int):
    """Mount a disk of that size at a new folder; leaves the test out where that is not allowed."""
    if shutil.which("mount") is None:
        pytest.skip("there is no mount command")
    folder.mkdir()
    options = ["-o", f"size={kilobytes}k,mode=777"]
    done = subprocess.run(["mount", "-t", "tmpfs", *options, "small-disk", str(folder)], capture_output=True)
    if done.returncode != 0:
        pytest.skip(f"a disk cannot be mounted here: {done.stderr.decode(errors='replace').strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def remount(folder, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)
