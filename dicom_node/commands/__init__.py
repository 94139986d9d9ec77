"""`dicom-node`: one verb a command; exit 0 done, 1 it failed, 2 asked wrongly.

A command is loaded when it is called: all of them together take seconds. Help and completion read what they need from the source.
"""

import ast
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from inspect import cleandoc
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

COMMANDS: Mapping[str, str] = {
    "demo": "demo",
    "serve": "processes",
    "receive": "processes",
    "work": "processes",
    "deliver": "processes",
    "schedule": "processes",
    "send": "send",
    "analyse": "analyse",
    "frames": "frames",
    "evaluate": "evaluate",
    "status": "status",
    "requeue": "status",
    "purge": "purge",
    "hold": "purge",
    "release": "purge",
    "rerun": "rerun",
    "retract": "retract",
    "check-config": "check_config",
    "destinations": "destinations",
    "train-embedded": "train_embedded",
    "probe": "probe",
    "version": "version",
}
"""Each command's module, which has a function of its name."""

GROUPS: Mapping[str, str] = {
    "ledger": "Check the ledger against the stored files; back both up and restore them.",
    "deliveries": "What waits for each destination, what is parked, and what to do about it.",
    "routes": "What goes where, and why.",
    "models": "The installed models.",
    "audit": "The audit trail: who did what with whose images, and the proof that it is whole.",
    "flags": "Worklist flags: who raises them, how often, and the switch that stops them.",
}
"""Modules that have a Typer `app` of their own."""


class _OnDemand(TyperGroup):
    """The commands, of which only those that are called are loaded."""

    _to_be_shown = False

    def list_commands(self, _: typer.Context) -> list[str]:  # type: ignore[override]  # click's context, which Typer's is
        return [*COMMANDS, *GROUPS]

    def get_command(self, _: typer.Context, cmd_name: str) -> Any:  # type: ignore[override]  # as above
        if cmd_name not in COMMANDS and cmd_name not in GROUPS:
            return None
        return TyperCommand(cmd_name, help=help_of(cmd_name)) if self._to_be_shown else _loaded(cmd_name)

    def format_help(self, *arguments: Any) -> None:
        with self._showing():
            super().format_help(*arguments)

    def shell_complete(self, *arguments: Any) -> Any:
        with self._showing():
            return super().shell_complete(*arguments)

    @contextmanager
    def _showing(self) -> Iterator[None]:
        self._to_be_shown = True
        try:
            yield
        finally:
            self._to_be_shown = False


def _loaded(name: str) -> Any:
    if name in GROUPS:
        group = import_module(f"dicom_node.commands.{name}").app
        group.info.name, group.info.help = name, GROUPS[name]
        return typer.main.get_group(group)
    alone = typer.Typer(add_completion=False)
    alone.command(name)(getattr(import_module(f"dicom_node.commands.{COMMANDS[name]}"), name.replace("-", "_")))
    return typer.main.get_command(alone)


def help_of(name: str) -> str:
    """Return the help of a command without loading it."""
    if name in GROUPS:
        return GROUPS[name]
    spec = find_spec(f"dicom_node.commands.{COMMANDS[name]}")
    assert spec is not None
    assert spec.origin is not None
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    found = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name.replace("-", "_"))
    return cleandoc(ast.get_docstring(found) or "")


app = typer.Typer(
    cls=_OnDemand,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    rich_markup_mode="rich",
)


@app.callback()
def dicom_node() -> None:
    """A DICOM node between a hospital's PACS and medical CLIP models. Nothing it says is a diagnosis."""


def main() -> None:
    """Run the command line. Commands say what they say themselves; only warnings are logged unless a process says otherwise."""
    if "_DICOM_NODE_COMPLETE" not in os.environ:
        from config.schema import TelemetrySection  # noqa: PLC0415 - completion is to be quick
        from dicom_node.telemetry import configure_logging  # noqa: PLC0415 - as above

        configure_logging(TelemetrySection(log_format="console", log_level="warning"), process="dicom-node")
    app()
