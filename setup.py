"""What pyproject.toml cannot say: the package's description is README.md with links that lead.

Relative links lead nowhere outside of the repository. They become absolute below
``[project.urls] Repository``, and plain text without one.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).resolve().parent


def description(text: str, repository: str | None) -> str:
    """``text`` without a link or picture whose address is relative."""

    def lead(link: re.Match[str]) -> str:
        picture, words, address = link.groups()
        if "://" in address or address.startswith(("#", "mailto:")):
            return link[0]
        if repository is None:
            return words
        return f"{picture}[{words}]({repository.rstrip('/')}/blob/HEAD/{address})"

    return re.sub(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)", lead, text)


if __name__ == "__main__":
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    setup(
        long_description=description(
            (ROOT / "README.md").read_text(encoding="utf-8"),
            project.get("urls", {}).get("Repository"),
        ),
        long_description_content_type="text/markdown",
    )
