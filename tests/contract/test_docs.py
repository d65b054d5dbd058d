"""The documentation: tables up to date, commands valid, Python that runs, links that lead somewhere."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from ttrl_env.agents.cli import main
from ttrl_env.agents.config.loading import load_config
from ttrl_env.agents.config.schema import EvaluateConfig, TrainConfig
from ttrl_env.agents.preview.config import PreviewConfig

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def _script(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / f"docs/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _commands() -> list[str]:
    """Every ``ttrl`` command of the bash blocks, continued lines joined, comments dropped."""
    found = []
    for page in PAGES:
        for block in re.findall(r"^```bash\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.M | re.S):
            lines = block.replace("\\\n", " ").splitlines()
            found += [line for line in lines if line.startswith("ttrl ")]
    return sorted(set(found))


@pytest.mark.parametrize(
    "page", ["configuration.md", "gpu.md", "migration.md", "robotwin.md", "scaling.md", "which-libero.md"]
)
def test_generated_tables_are_up_to_date(page) -> None:
    current = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert current == _script("make_tables").updated(page), "run: python docs/make_tables.py"


def test_every_python_block_is_laid_out_for_the_type_checker(tmp_path) -> None:
    _script("python_blocks").main(tmp_path)
    code = {file.relative_to(tmp_path).as_posix(): file.read_text() for file in tmp_path.rglob("*.py")}
    assert "class GlancePolicy" in code["my_policy.py"]
    assert "from my_policy import GlanceConfig" in code["pages/own_policy.py"]
    pages = [page.read_text(encoding="utf-8") for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))]
    blocks = [
        block for text in pages for block in re.findall(r"^```python\n(.*?)^```", text, flags=re.M | re.S)
    ]
    assert sorted("".join(code.values()).splitlines()) == sorted("".join(blocks).splitlines())


@pytest.mark.parametrize("command", _commands())
def test_a_command_of_the_documentation_is_valid(command, capsys, tmp_path, monkeypatch) -> None:
    _, name, *arguments = shlex.split(command, comments=True)
    schemas = {"train": TrainConfig, "preview": PreviewConfig, "eval": EvaluateConfig}
    if name in schemas:
        load_config(schemas[name], [argument for argument in arguments if argument != "--cfg"])
    elif name == "pretrain":
        for folder in re.findall(r"data=\[(.*?)\]", command):
            (tmp_path / folder).mkdir(parents=True)
        monkeypatch.chdir(tmp_path)
        assert main([name, *arguments, "--cfg"]) == 0
    else:
        assert main([name, *arguments, "--cfg"]) == 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_quote_what_zsh_takes_for_patterns(page) -> None:
    """An unquoted ``[0]`` is a pattern there that must match a file, else the command does not run."""
    text = page.read_text(encoding="utf-8")
    blocks = "".join(re.findall(r"^```bash\n(.*?)^```", text, flags=re.M | re.S))
    lines = [*blocks.replace("\\\n", " ").splitlines(), *re.findall(r"`((?:ttrl|pip|python) [^`\n]*)`", text)]
    for line in lines:
        unquoted = re.sub(r"'[^']*'|\"[^\"]*\"|(^|\s)#.*", "", line)
        assert not re.search(r"=\[[\w,./-]+\]|\.\[", unquoted) or "..." in line, f"{page.name}: {line}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]*)(?:#[^)]*)?\)", text):
        if target and not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#([^)]*)\)", text):
        linked = page if not target else page.parent / target
        headings = re.findall(r"^#+ (.*)$", linked.read_text(encoding="utf-8"), flags=re.M)
        anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert anchor in anchors, f"{page.name}: {target}#{anchor}"


def test_walks_name_what_is_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\S+\.py)` \| (.*?) \|", text, flags=re.M)
    assert rows
    for file, names in rows:
        code = (ROOT / file).read_text(encoding="utf-8")
        for name in re.findall(r"`(\w+)`", names):
            assert re.search(rf"^ *(def|class) {name}\b", code, flags=re.M), f"{file} has no {name}"


def test_files_of_the_contributors_page_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for path in re.findall(r"`((?:ttrl_env|agents|kernels|tests|docs|benchmarks)/[\w/.]+)`", text):
        assert "NAME" in path or (ROOT / path).exists(), path


def test_every_finding_is_listed_by_its_title() -> None:
    folder = ROOT / "docs/findings"
    listed = (folder / "README.md").read_text(encoding="utf-8")
    for page in folder.glob("[!R]*.md"):
        title = page.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
        assert f"- [{title}]({page.name})" in listed


def test_bad_inputs_are_counted() -> None:
    head, *sections = re.split(r"^## ", (ROOT / "docs/bad-inputs.md").read_text(encoding="utf-8"), flags=re.M)
    counts = {}
    for section in sections:
        title, *lines = section.splitlines()
        rows = [re.split(r"(?<!\\)\|", line) for line in lines if line.startswith("| ")][1:]
        right = sum(row[4].strip().startswith("right") for row in rows)
        counts[title] = [len(rows), len(rows) - right, right]
    counts["all"] = [sum(column) for column in zip(*counts.values(), strict=True)]
    stated = re.findall(r"^\| (?:\[(.+?)\]\(.+?\)|(all)) \| (\d+) \| (\d+) \| (\d+) \|$", head, flags=re.M)
    assert {link or all_: [int(number) for number in numbers] for link, all_, *numbers in stated} == counts
