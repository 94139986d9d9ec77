"""`dicom-node version`."""

import json
import platform
from importlib.metadata import version as installed
from typing import Annotated

import typer

from dicom_node.version import node_version

LIBRARIES = ("pydicom", "pynetdicom", "highdicom", "torch", "open_clip_torch", "sqlalchemy")


def version(as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False) -> None:
    """Version: of the node and of the libraries that its results depend on.

    Example: dicom-node version --json
    """
    versions = {"dicom-node": node_version(), "python": platform.python_version()} | {name: installed(name) for name in LIBRARIES}
    typer.echo(json.dumps(versions) if as_json else "\n".join(f"{name} {number}" for name, number in versions.items()))
