"""Write the Python of all pages as modules whose types can be checked: ``python_blocks.py FOLDER``.

The blocks of a page are one module of the package ``pages``. A block that readers save under a name of its
own is a module of that name.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

DOCS = Path(__file__).parent


def main(folder: Path) -> None:
    """Write the modules of the README and of every page of ``docs/`` into ``folder``."""
    for page in (DOCS.parent / "README.md", *sorted(DOCS.glob("*.md"))):
        for name, code in modules(page).items():
            file = folder / f"{name}.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(code, encoding="utf-8")


def modules(page: Path) -> dict[str, str]:
    """The code of a page, by the paths of its modules."""
    found: dict[str, str] = {}
    text = page.read_text(encoding="utf-8")
    for match in re.finditer(r"(?:`(\w+)\.py`:\n)?^```python\n(.*?)^```", text, flags=re.M | re.S):
        name = match[1] or f"pages/{page.stem.replace('-', '_')}"
        found[name] = found.get(name, "") + match[2]
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]))
