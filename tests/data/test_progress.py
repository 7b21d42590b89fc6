"""Progress bars."""

import io
import sys

from qpsbgd.data.progress import ProgressBar


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_line_printed_while_bars_are_shown_stands_by_itself(monkeypatch):
    monkeypatch.setattr("sys.stderr", Terminal())
    with ProgressBar(2, "outer") as bar:
        bar.advance()
        with bar.paused():
            print("a line", file=sys.stderr)
    assert "\ra line\n" in sys.stderr.getvalue()
    assert "outer" in sys.stderr.getvalue()
