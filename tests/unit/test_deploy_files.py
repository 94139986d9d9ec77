"""The files under deploy/: they parse, they agree with each other and with the settings that the node reads."""

import configparser
import json
import re
import shutil
import subprocess
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


def test_the_service_is_shut_off_as_far_as_it_can_be() -> None:
    service = unit()["Service"]
    assert service["User"] == "dicom-node"
    assert (service["CapabilityBoundingSet"], service["AmbientCapabilities"]) == ("", "")
    assert (service["PrivateTmp"], service["RestrictAddressFamilies"]) == ("yes", "AF_INET AF_INET6 AF_UNIX")
    assert (service["StateDirectoryMode"], service["LimitCORE"]) == ("0700", "0")
    assert "MemoryMax" in service
    text = (DEPLOY / "systemd" / "dicom-node.service").read_text(encoding="utf-8")
    assert "\nSystemCallFilter=@system-service\nSystemCallFilter=~@privileged @resources\n" in text


def test_systemd_finds_the_service_little_exposed() -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(DEPLOY / "systemd" / "dicom-node.service")]
    told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    found = re.search(r"exposure level for dicom-node\.service: ([0-9.]+)", told.stdout)
    if found is None:
        pytest.skip("this systemd-analyze cannot judge a file")
    assert float(found[1]) <= 1.5


def kubernetes() -> dict[str, dict[str, Any]]:
    """Return the manifests by kind."""
    paths = [path for path in (DEPLOY / "kubernetes").glob("*.yaml") if path.name != "node.yaml"]
    documents = (yaml.safe_load(path.read_text(encoding="utf-8")) for path in paths)
    return {document["kind"]: document for document in documents}


def pod() -> dict[str, Any]:
    template: dict[str, Any] = kubernetes()["StatefulSet"]["spec"]["template"]["spec"]
    return template


def test_every_manifest_is_in_the_kustomization_and_there() -> None:
    files = {path.name for path in (DEPLOY / "kubernetes").glob("*.yaml")} - {"kustomization.yaml", "node.yaml"}
    kustomization = kubernetes()["Kustomization"]
    assert set(kustomization["resources"]) == files
    (settings,) = kustomization["configMapGenerator"]
    assert settings["files"] == ["node.yaml"]
    assert settings["name"] in {volume.get("configMap", {}).get("name") for volume in pod()["volumes"]}
    assert [image["name"] for image in kustomization["images"]] == [pod()["containers"][0]["image"].partition(":")[0]]


def test_the_pod_has_no_rights_and_writes_only_to_its_volumes() -> None:
    (container,) = pod()["containers"]
    security = container["securityContext"]
    assert (security["allowPrivilegeEscalation"], security["readOnlyRootFilesystem"], security["privileged"]) == (False, True, False)
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert pod()["securityContext"]["runAsNonRoot"] is True
    assert pod()["securityContext"]["runAsUser"] == 10001
    assert pod()["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod()["automountServiceAccountToken"] is False
    assert kubernetes()["Namespace"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    written = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
    settings, _ = load(DEPLOY / "kubernetes" / "node.yaml")
    assert written == {str(settings.node.data_folder), "/tmp", "/dev/shm"}


def test_the_pod_its_settings_its_probes_and_its_network_agree() -> None:
    settings, _ = load(DEPLOY / "kubernetes" / "node.yaml")
    (container,) = pod()["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"dicom": settings.receive.port, "health": settings.telemetry.port}
    assert [container[probe]["httpGet"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")] == [
        {"path": "/healthz", "port": "health"},
        {"path": "/healthz", "port": "health"},
        {"path": "/readyz", "port": "health"},
    ]
    policy = kubernetes()["NetworkPolicy"]["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert [rule["ports"][0]["port"] for rule in policy["ingress"]] == [settings.receive.port, settings.telemetry.port]
    assert all("from" in rule for rule in policy["ingress"])
    assert all("to" in rule for rule in policy["egress"])
    allowed = {port["port"] for rule in policy["egress"] for port in rule["ports"]}
    assert {destination.port for destination in settings.destinations if isinstance(destination, CStoreDestination)} <= allowed
    assert kubernetes()["Service"]["spec"]["ports"][0]["port"] == settings.receive.port


def test_the_secrets_of_the_pod_are_files_that_the_node_takes() -> None:
    settings, _ = load(DEPLOY / "kubernetes" / "node.yaml")
    assert settings.receive.tls is not None
    (container,) = pod()["containers"]
    (folder,) = [Path(mount["mountPath"]) for mount in container["volumeMounts"] if mount["name"] == "tls"]
    assert {path.parent for path in settings.receive.tls.files} == {folder}
    (secret,) = [volume["secret"] for volume in pod()["volumes"] if "secret" in volume]
    assert secret["defaultMode"] == 0o440
    assert "env" not in container
    told = (DEPLOY / "kubernetes" / "kustomization.yaml").read_text(encoding="utf-8")
    assert all(f"--from-file={path.name}" in told for path in settings.receive.tls.files)
