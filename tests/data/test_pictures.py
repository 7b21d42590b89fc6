"""Pictures: without matplotlib the message says what to install, and a failed write leaves the old file."""

import sys

import pytest

from qpsbgd.data.pictures import new_figure, write_picture


def test_missing_matplotlib_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ModuleNotFoundError, match=r"qpsbgd\[plots\]"):
        new_figure(4, 3)


def test_picture_has_the_size_asked_for_and_its_folder_is_made(tmp_path):
    write_picture(new_figure(4, 3), tmp_path / "new" / "picture.png", dpi=50)
    content = (tmp_path / "new" / "picture.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    assert [int.from_bytes(content[start : start + 4], "big") for start in (16, 20)] == [200, 150]


def test_failed_drawing_leaves_the_old_picture(tmp_path):
    class Broken:
        def savefig(self, file, **_options):
            file.write(b"half")
            raise RuntimeError("cannot draw")

    (tmp_path / "picture.png").write_bytes(b"old")
    with pytest.raises(RuntimeError, match="cannot draw"):
        write_picture(Broken(), tmp_path / "picture.png")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]
