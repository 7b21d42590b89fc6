"""Problem instances: reading, writing, and the best objectives known for them.

`formats` lists the formats; `model` says what an instance is; `writing` writes.
"""

from qpsbgd.data.instances.formats import MAX_VARIABLES, parse_instances, read_instance, read_instances
from qpsbgd.data.instances.known import BestKnown, best_known
from qpsbgd.data.instances.model import Instance, Kind, SparseRows
from qpsbgd.data.instances.writing import FORMATS, write

__all__ = [
    "FORMATS",
    "MAX_VARIABLES",
    "BestKnown",
    "Instance",
    "Kind",
    "SparseRows",
    "best_known",
    "parse_instances",
    "read_instance",
    "read_instances",
    "write",
]


def __dir__() -> list[str]:
    return __all__
