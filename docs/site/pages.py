"""The site's pages: those under ``docs/`` and the repository's own, all under their paths in the repository.

MkDocs reads one folder. With these paths, relative links lead to the same file on the site as in a clone.
"""

from __future__ import annotations

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "kernels/README.md",
    "agents/shipped/*/README.md",
    "docs/**/*.md",
)
ASSETS = ("docs/images/*", "benchmarks/results/*/*.png")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Replace what MkDocs found below ``docs/``; the theme's own files are added later."""
    paths = [path for pattern in (*PAGES, *ASSETS) for path in sorted(ROOT.glob(pattern))]
    return Files([_file(path, config) for path in paths])


def _file(path: Path, config: MkDocsConfig) -> File:
    file = File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path))
    file.dest_uri = file.dest_uri.removeprefix("docs/")
    return file
