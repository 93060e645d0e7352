"""The command: help, version, exit statuses, and that a machine without torch can show, run, check and report."""

import json
import subprocess
import sys

import pytest

import secateur as sct
from secateur import __version__
from secateur.cli.main import app
from secateur.reporting.report import report


def command(*arguments, prelude=""):
    """The installed entry point in a new interpreter."""
    script = f"import sys\n{prelude}\nfrom secateur.cli.main import main\nmain()"
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_help_lists_every_verb_in_one_line_each(secateur):
    ran = secateur("--help")
    assert ran.status == 0
    verbs = [info.callback.__name__ for info in app.registered_commands]
    assert verbs == ["demo", "plan", "compress", "pack", "show", "run", "check", "report", "conv"]
    assert all(verb in ran.out for verb in verbs)
    assert "Exit status" in ran.out


def test_version(secateur):
    assert secateur("--version").out == f"secateur {__version__}\n"


def test_the_package_runs_as_the_command_does():
    ran = subprocess.run([sys.executable, "-m", "secateur", "--version"], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, f"secateur {__version__}\n")


@pytest.mark.parametrize("arguments", [(), ("shw",), ("show",), ("run", "a", "b"), ("show", "a", "--nonsense")])
def test_wrong_usage_is_2(secateur, arguments):
    ran = secateur(*arguments)
    assert ran.status == 2
    assert "Traceback" not in ran.err


@pytest.mark.parametrize("verb", [info.callback.__name__ for info in app.registered_commands])
def test_every_verb_speaks_json_and_explains_itself(secateur, verb):
    ran = secateur(verb, "--help")
    assert ran.status == 0
    assert "--json" in ran.out


WITHOUT_TORCH = "sys.modules['torch'] = None  # what an import finds where torch is not installed"


def test_show_run_check_and_report_need_no_torch(packed, tmp_path):
    import numpy as np

    np.save(tmp_path / "x.npy", np.zeros((1, 4), np.float32))
    assert command("show", packed, prelude=WITHOUT_TORCH).returncode == 0
    assert json.loads(command("check", packed, "--json", prelude=WITHOUT_TORCH).stdout)["passed"] is True
    ran = command("run", packed, tmp_path / "x.npy", "-o", tmp_path / "y.npy", prelude=WITHOUT_TORCH)
    assert (ran.returncode, ran.stderr) == (0, "")
    report(sct.Artifact.load(packed), title="A run").save(tmp_path / "report.json")
    ran = command("report", tmp_path, "-o", tmp_path / "report.html", prelude=WITHOUT_TORCH)
    assert ran.returncode == 0
    assert ran.stdout.startswith("A run\n")


def test_verbs_that_need_torch_say_how_to_get_it(packed, task_name, tmp_path):
    for arguments in (("demo", "-o", tmp_path), ("plan", task_name), ("check", packed, "--task", task_name)):
        ran = command(*arguments, prelude=WITHOUT_TORCH)
        assert ran.returncode == 2
        assert ran.stderr.splitlines()[-1] == (
            "error: this command needs PyTorch, which is not installed: python -m pip install 'secateur[torch]'"
        )
        assert "Traceback" not in ran.stderr
