"""Files, downloads, data sets and problem instances."""

from typing import TYPE_CHECKING

from qpsbgd.extras import lazy_names as _lazy_names

if TYPE_CHECKING:
    from qpsbgd.data import datasets, graphs, instances

__all__ = ["datasets", "graphs", "instances"]

__getattr__, __dir__ = _lazy_names(__name__, {name: f"qpsbgd.data.{name}" for name in __all__})
