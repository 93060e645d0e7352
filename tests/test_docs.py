"""The documents run: code is executed, links lead somewhere, every public name and every verb is documented."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from torch import nn
from typer.testing import CliRunner

import secateur
from secateur.cli.main import app
from secateur.nn.pack import pack
from secateur.train.loading import load_task

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
USER_DOCUMENTS = [path for path in DOCUMENTS if path == README or path.parent != ROOT]
FOLDERS = ("src", "tests", "tools", "benchmarks", "docs", ".ci")
TEXT_FILES = sorted(
    path
    for path in [*ROOT.glob("*"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*"))]
    if path.suffix in {".md", ".py", ".toml", ".txt", ".html", ".css", ".json", ".jsonl"}
    or path.name in {"Makefile", "run", ".gitignore"}
)
VERBS = sorted(typer.main.get_command(app).commands)


def blocks(path: Path, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def anchor(heading: str) -> str:
    """The anchor that a heading gets where Markdown is shown."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def broken_links(path: Path) -> list[str]:
    """Links to files or headings that are not there. Addresses elsewhere are not followed."""
    found = []
    for target in re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, fragment = target.partition("#")
        file = (path.parent / name) if name else path
        headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE) if file.is_file() else []
        if not file.exists() or (fragment and fragment not in map(anchor, headings)):
            found.append(target)
    return found


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    assert broken_links(path) == []


def test_a_broken_link_is_noticed(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A b, c!\n[1](page.md) [2](#a-b-c) [3](page.md#a) [4](gone.md) [5](https://example.org/x)\n")
    assert broken_links(page) == ["page.md#a", "gone.md"]


def test_readme_code_runs(tmp_path):
    """All Python blocks of README, in their order, as one program in an empty folder."""
    code = blocks(README, "python")
    assert code
    program = "import torch\ntorch.manual_seed(0)\ntorch.set_num_threads(1)\n" + "\n".join(code)
    command = [sys.executable, "-W", "error", "-c", program]
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_readme_has_the_two_commands():
    lines = [line for block in blocks(README, "sh") for line in block.splitlines()]
    assert "python -m pip install -c constraints.txt '.[torch]' && secateur demo" in lines
    assert "python -m pip install -c constraints.txt '.[test]' && python -m pytest -n auto" in lines


def test_the_checks_install_what_readme_says():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "$(PYTHON) -m pip install -c constraints.txt '.[test]'\n" in makefile
    assert "$(PYTHON) -m pytest -n auto\n" in makefile


@pytest.mark.parametrize("name", sorted(secateur.PUBLIC))
def test_every_public_name_is_documented(name):
    code = "\n".join(text for path in USER_DOCUMENTS for text in re.findall(r"`+[^`]+`+", path.read_text("utf-8")))
    assert re.search(rf"(?<![\w.]){re.escape(name)}(?!\w)|\bsct\.{re.escape(name)}(?!\w)", code)


def test_names_said_to_need_no_torch_are_those_below_nn():
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    section = page.partition("## Without torch")[2].partition("\n## ")[0]
    named = {name for cell in re.findall(r"^\| (`.*?`) \|", section, re.MULTILINE) for name in re.findall(r"\w+", cell)}
    below = {name for name, module in secateur.PUBLIC.items() if module.split(".")[1] in ("ir", "maths", "reporting")}
    assert named == below


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_documented_and_helps(verb):
    assert any(f"secateur {verb}" in path.read_text(encoding="utf-8") for path in USER_DOCUMENTS)
    result = CliRunner().invoke(app, [verb, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output


def commands() -> list[list[str]]:
    """The words after `secateur` of every command line in README."""
    lines = [line for block in blocks(README, "sh") for line in block.splitlines()]
    parts = [part.strip() for line in lines for part in line.split("&&")]
    return [shlex.split(part, comments=True)[1:] for part in parts if part.startswith("secateur ")]


def test_readme_command_lines_run(tmp_path, monkeypatch):
    """All but the demo, which tests of its own run, in their order, in a folder with the files a user has."""
    monkeypatch.chdir(tmp_path)
    Path("task.py").write_text((ROOT / "tests" / "cli" / "sample_task.py").read_text(encoding="utf-8"))
    torch.save(load_task("task.py:build").model.state_dict(), "weights.pt")
    np.save("x.npy", np.ones((2, 4), np.float32))
    for name, seed in (("before", 0), ("after", 1)):
        torch.manual_seed(seed)
        artifact = pack(nn.Linear(4, 2), torch.zeros(1, 4))
        artifact.save(f"{name}.secat")
        Path(f"run{seed + 1}").mkdir()
        scores = [secateur.Measurement("accuracy", 0.9 - seed / 10, "fraction", "somewhere") for _ in range(2)]
        report = secateur.report(artifact, title=name, summary=[secateur.Change(*scores)])
        report.save(f"run{seed + 1}/report.json")
    assert {words[0] for words in commands()} == set(VERBS)
    for words in commands():
        if words[0] != "demo":
            result = CliRunner().invoke(app, words)
            assert result.exit_code == 0, result.output
    assert np.load("y.npy").shape == (2, 2)


# Hosts of package registries and folders of some machine: neither belongs into a project.
FORBIDDEN = {
    "a registry's host": re.compile(r"\b(pypi|pythonhosted|npmjs|conda|anaconda|download\.pytorch)\.(org|com|io)\b"),
    "a folder of one machine": re.compile(
        r"(?<![\w.:/*<])/(home|root|work|opt|usr/share|usr/local|mnt|Users)/(?!env\b)"
    ),
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_nothing_depends_on_one_machine(what):
    assert len(TEXT_FILES) > 50
    named = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in TEXT_FILES
        for match in FORBIDDEN[what].finditer(path.read_text(encoding="utf-8"))
    ]
    assert named == []


@pytest.mark.parametrize(
    ("what", "text", "found"),
    [
        ("a registry's host", "https://" + "pypi" + ".org/simple", True),
        ("a registry's host", "https://www.w3.org/TR/png", False),
        ("a folder of one machine", "cd " + "/home" + "/me", True),
        ("a folder of one machine", "#!/usr/bin/env bash; a/home/b", False),
    ],
)
def test_what_is_forbidden_is_found(what, text, found):
    assert bool(FORBIDDEN[what].search(text)) is found


def test_the_file_map_is_current():
    run = subprocess.run([sys.executable, ROOT / "tools" / "file_map.py"], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout
