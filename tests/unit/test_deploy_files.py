"""The files under deploy/: they parse, they agree with each other and with the settings that the node reads."""

import configparser
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from config import load
from config.destinations import CStoreDestination
from config.loader import check_ready_to_serve

DEPLOY = Path(__file__).parents[2] / "deploy"
SETTINGS = sorted(DEPLOY.rglob("node.yaml"))


def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    return document


def orthanc() -> dict[str, Any]:
    document: dict[str, Any] = json.loads((DEPLOY / "orthanc" / "orthanc.json").read_text(encoding="utf-8"))
    return document


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # systemd's names have capitals
    parser.read(DEPLOY / "systemd" / "dicom-node.service", encoding="utf-8")
    return parser


@pytest.mark.parametrize("path", SETTINGS, ids=lambda path: path.parent.name)
def test_every_example_of_settings_is_ready_to_serve(path: Path) -> None:
    settings, _ = load(path)
    check_ready_to_serve(settings, path)
    assert settings.destinations
    assert not settings.receive.any_calling_ae_title


def test_the_pacs_of_the_compose_file_and_the_node_know_each_other() -> None:
    settings, _ = load(DEPLOY / "container" / "node.yaml")
    (pacs,) = settings.destinations
    assert isinstance(pacs, CStoreDestination)
    known = orthanc()["DicomModalities"]["dicom-node"]
    assert (pacs.ae_title, pacs.port, pacs.host) == (orthanc()["DicomAet"], orthanc()["DicomPort"], "orthanc")
    assert (known["AET"], known["Port"], known["Host"]) == (settings.node.ae_title, settings.receive.port, "dicom-node")
    assert settings.receive.calling_ae_titles == (orthanc()["DicomAet"],)
    assert {pacs.host, known["Host"]} == set(compose()["services"])


def test_the_script_of_the_pacs_sends_to_a_modality_that_it_has() -> None:
    script = (DEPLOY / "orthanc" / "route.lua").read_text(encoding="utf-8")
    (name,) = [line.split("'")[1] for line in script.splitlines() if line.startswith("NODE = ")]
    assert name in orthanc()["DicomModalities"]
    assert orthanc()["LuaScripts"] == ["/etc/orthanc/route.lua"]


def test_the_compose_file_publishes_on_this_machine_only() -> None:
    ports = [port for service in compose()["services"].values() for port in service["ports"]]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_every_file_that_the_compose_file_mounts_is_there() -> None:
    mounted = [volume.split(":")[0] for service in compose()["services"].values() for volume in service["volumes"]]
    files = [DEPLOY / source for source in mounted if source.startswith("./")]
    assert files
    assert all(path.is_file() for path in files)


def test_the_node_runs_without_rights_in_its_container_and_as_a_service() -> None:
    node = compose()["services"]["dicom-node"]
    assert node["read_only"] is True
    assert node["cap_drop"] == ["ALL"]
    assert "\nUSER 10001:10001\n" in (DEPLOY / "Containerfile").read_text(encoding="utf-8")
    service = unit()["Service"]
    assert (service["NoNewPrivileges"], service["ProtectSystem"], service["UMask"]) == ("yes", "strict", "0077")


def test_container_and_service_write_where_the_settings_say() -> None:
    container, _ = load(DEPLOY / "container" / "node.yaml")
    assert f"node-data:{container.node.data_folder}" in compose()["services"]["dicom-node"]["volumes"]
    service, _ = load(DEPLOY / "systemd" / "node.yaml")
    assert str(service.node.data_folder) == unit()["Service"]["WorkingDirectory"]


def test_the_health_check_of_the_container_asks_the_port_of_the_settings() -> None:
    settings, _ = load(DEPLOY / "container" / "node.yaml")
    assert f"http://127.0.0.1:{settings.telemetry.port}/healthz" in (DEPLOY / "Containerfile").read_text(encoding="utf-8")
