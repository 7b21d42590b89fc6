"""Pictures drawn by matplotlib, which is optional, and written whole or not at all."""

from __future__ import annotations

import importlib
import io
import os
from typing import Any

from qpsbgd.data.files import atomic_write
from qpsbgd.extras import needed_for

__all__ = ["can_draw", "new_figure", "write_picture"]


def can_draw() -> bool:
    """Whether matplotlib can be imported, so that long work does not end in an error for want of it.

    Examples
    --------
    >>> can_draw()
    True
    """
    try:
        importlib.import_module("matplotlib.figure")
    except ImportError:  # it is missing, or it does not fit the other packages
        return False
    return True


def new_figure(width: float, height: float) -> Any:
    """Make a matplotlib figure that belongs to no window.

    Parameters
    ----------
    width, height : float
        Size in inches.

    Raises
    ------
    ModuleNotFoundError
        If matplotlib is not installed.

    Examples
    --------
    >>> figure = new_figure(4, 3)
    >>> float(figure.get_figwidth())
    4.0
    """
    with needed_for("a picture", "matplotlib", "plots"):
        from matplotlib.figure import Figure
    return Figure(figsize=(width, height), layout="constrained")


def write_picture(figure: Any, path: str | os.PathLike[str], *, dpi: int = 150) -> None:
    """Write a figure as a PNG file.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        What to write.
    path : path
        The PNG file; missing folders above it are made.
    dpi : int
        Pixels in an inch.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=dpi)
    with atomic_write(path) as file:
        file.write(picture.getvalue())
