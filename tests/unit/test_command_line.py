"""The command line as a whole: every command is there, says what it does, and is loaded only when it is called."""

import os
import subprocess
import sys

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from dicom_node.commands import COMMANDS, GROUPS, app, help_of

HEAVY = {"torch", "highdicom", "pydicom", "sqlalchemy", "numpy"}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_says_in_the_list_what_it_says_itself(name):
    loaded = get_command(app).get_command(None, name)

    assert loaded.help == help_of(name)
    assert loaded.name == name


@pytest.mark.parametrize("name", GROUPS)
def test_a_group_has_commands(name):
    answer = CliRunner().invoke(app, [name, "--help"])

    assert answer.exit_code == 0
    assert GROUPS[name].split(",")[0].split(":")[0][:40] in " ".join(answer.output.split())


def test_a_word_that_is_no_command_is_asked_wrongly():
    answer = CliRunner().invoke(app, ["diagnose"])

    assert answer.exit_code == 2
    assert "diagnose" in answer.output


def test_completion_loads_nothing_heavy():
    """Each press of TAB starts the program."""
    code = (
        "import sys, contextlib\n"
        "sys.argv = ['dicom-node']\n"
        "from dicom_node.commands import main\n"
        "with contextlib.suppress(SystemExit):\n"
        "    main()\n"
        f"print('loaded', *sorted({HEAVY!r} & set(sys.modules)))"
    )
    asked = {"_DICOM_NODE_COMPLETE": "complete_bash", "COMP_WORDS": "dicom-node st", "COMP_CWORD": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | asked, capture_output=True, text=True, check=True, timeout=60)

    assert done.stdout.split() == ["status", "loaded"]


def test_a_command_that_only_looks_loads_neither_torch_nor_highdicom():
    code = "import sys, dicom_node.commands.status as _; print(sorted({'torch', 'highdicom', 'reporting'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)

    assert done.stdout.strip() == "[]"
