"""The command line: ``qpsbgd demo``, ``train``, ``report``, ``solve`` and ``info``.

One module a command: ``add`` declares its arguments, ``run`` does it. A module that takes long to import is
imported by the ``run`` that needs it.
"""

from qpsbgd.cli.program import main

__all__ = ["main"]
