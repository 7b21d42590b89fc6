"""Write .ci/index_readme.md, the README for a package index: `python .ci/index_readme.py`.

An index shows the text alone, so there is nothing a relative link could lead to. Links become paths in the
source archive, the picture is left out, and the installation is that of a published package.
"""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
TARGET = ROOT / ".ci" / "index_readme.md"

INSTALL = """\
```sh
pip install qpsbgd            # the solver and its commands; needs numpy alone
pip install 'qpsbgd[torch]'   # training too; [ocean], [qpu], [demo] and [all] add more
qpsbgd demo                   # with [demo]: a first training, with its learning curves
```

Python 3.10 or newer is needed. Where there is no wheel for the machine, pip compiles, which needs a C++20
compiler.
"""

MORE = """\
The source archive holds these pages and more in `docs/`, examples, and tests. `qpsbgd --help` names the
commands. Docstrings are the reference. Licence: Apache-2.0.
"""

PICTURE = re.compile(r"^!\[[^\]]*\]\([^)]*\)\n\n", re.MULTILINE)
RELATIVE_LINK = re.compile(r"\[[^\]]+\]\((?!\w+:)([^)#]*)[^)]*\)")


def section(text: str, title: str, content: str) -> str:
    """Give a section of the text another content."""
    begin = text.index(f"\n## {title}\n\n") + len(f"\n## {title}\n\n")
    end = text.find("\n## ", begin)
    return text[:begin] + content + (text[end:] if end >= 0 else "")


def index_text(readme: str) -> str:
    """Make the text for the index of that of the README."""
    text = section(section(readme, "Install", INSTALL), "More", MORE)
    return RELATIVE_LINK.sub(r"`\1`", PICTURE.sub("", text))


if __name__ == "__main__":
    TARGET.write_text(index_text((ROOT / "README.md").read_text(encoding="utf-8")), encoding="utf-8")
