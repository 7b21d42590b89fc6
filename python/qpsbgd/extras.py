"""What the package needs beyond numpy is loaded when it is first used, and its lack is told clearly.

`needed_for` turns a missing module into an error that names the extra which installs it. `lazy_names` gives a
package public names that are imported on their first use: `from qpsbgd import solve_ising` loads no torch.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

__all__ = ["lazy_names", "needed_for"]


@contextmanager
def needed_for(purpose: str, distribution: str, extra: str) -> Iterator[None]:
    """Say which extra installs a module, if an import inside of the block does not find it.

    Parameters
    ----------
    purpose : str
        What the user asked for.
    distribution : str
        Name of the package on the index.
    extra : str
        The extra of this package that installs it.

    Raises
    ------
    ModuleNotFoundError
        With the command that installs what is missing.

    Examples
    --------
    >>> with needed_for("an example", "numpy", "all"):
    ...     import numpy
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "qpsbgd":
            raise
        raise ModuleNotFoundError(
            f"{purpose} needs {distribution}: pip install 'qpsbgd[{extra}]'", name=error.name
        ) from error


def lazy_names(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make the ``__getattr__`` and ``__dir__`` of a package (PEP 562).

    Parameters
    ----------
    package : str
        Its ``__name__``.
    homes : mapping of str to str
        Public name to the module that defines it. A name whose home is ``package.name`` is that module.
        Other modules of the package are found by their names, too, but not listed.

    Returns
    -------
    tuple of two functions
        ``__getattr__``, which imports a name on its first use, and ``__dir__``, which lists public names.

    Examples
    --------
    >>> find, listing = lazy_names("qpsbgd.solvers", {"NativeSolver": "qpsbgd.solvers.native"})
    >>> find("NativeSolver").__name__, listing()
    ('NativeSolver', ['NativeSolver'])
    """

    def find(name: str) -> Any:
        submodule = f"{package}.{name}"
        home = homes.get(name, submodule)
        try:
            if name.startswith("_"):
                raise ModuleNotFoundError(name=submodule)
            module = importlib.import_module(home)
        except ModuleNotFoundError as error:
            if error.name != submodule:
                raise
            raise AttributeError(f"module {package!r} has no attribute {name!r}") from None
        value = module if home == submodule else getattr(module, name)
        setattr(sys.modules[package], name, value)  # found without this function the next time
        return value

    def listing() -> list[str]:
        return sorted(homes)

    return find, listing
