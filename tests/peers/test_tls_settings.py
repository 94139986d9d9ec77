"""What the administrator is told of TLS: mistakes before the start, dates as a metric and as a warning, a probe that still works."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
import structlog
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from typer.testing import CliRunner

from config import load
from config.schema import Settings
from dicom_node.commands import app
from dicom_node.tls.files import ExpiryCollector, known_expiries, warn_of_expiry
from tests.certificates import Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def settings_file(folder: Path, authority: Authority, *, days: int = 90) -> Path:
    """Settings with TLS in both directions; the files lie beside them, named relative to them."""
    own = authority.issue("own", days=days)
    for source, name in ((own.certificate, "own.pem"), (own.key, "own-key.pem"), (authority.certificate, "authority.pem")):
        (folder / name).write_bytes(source.read_bytes())
        (folder / name).chmod(0o600)
    files = {"certificate": "own.pem", "key": "own-key.pem", "trusted_certificates": "authority.pem"}
    settings = {
        "receive": {"tls": files, "peers": [{"name": "ct", "ae_titles": ["CT1"], "certificate_subject": "CN=CT1"}]},
        "destinations": [
            {"name": "reports", "kind": "folder", "folder": "reports"},
            {"name": "pacs", "kind": "c-store", "host": "127.0.0.1", "port": 4242, "ae_title": "PACS", "tls": files},
        ],
    }
    path = folder / "node.yaml"
    path.write_text(yaml.safe_dump(settings, sort_keys=False))
    return path


def test_usable_files_beside_the_settings_are_found(tmp_path: Path, authority: Authority) -> None:
    answer = CliRunner().invoke(app, ["check-config", str(settings_file(tmp_path, authority))])
    assert answer.exit_code == 0, answer.output


def test_a_key_that_others_may_read_is_named_with_its_line(tmp_path: Path, authority: Authority) -> None:
    path = settings_file(tmp_path, authority)
    (tmp_path / "own-key.pem").chmod(0o604)
    answer = CliRunner().invoke(app, ["check-config", str(path), "--json"])
    assert answer.exit_code == 1
    mistakes = json.loads(answer.stdout)["mistakes"]
    lines = path.read_text().splitlines()
    assert [mistake["field"] for mistake in mistakes] == ["receive.tls", "destinations[1].tls"]
    assert all("tls:" in lines[mistake["line"] - 1] for mistake in mistakes)
    assert all("has mode 0604, so that others may use it; chmod 600" in mistake["message"] for mistake in mistakes)


def loaded(folder: Path, authority: Authority, **more: int) -> Settings:
    settings, _ = load(settings_file(folder, authority, **more))
    return settings


def test_the_dates_are_a_metric(tmp_path: Path, authority: Authority) -> None:
    settings = loaded(tmp_path, authority)
    shown = CollectorRegistry()
    shown.register(ExpiryCollector(lambda: known_expiries(settings)))
    page = generate_latest(shown).decode()
    found = re.findall(r'dicom_node_tls_not_after_timestamp_seconds\{field="([^"]+)"\} (\S+)', page)
    assert {field for field, _ in found} == {
        "receive.tls.certificate",
        "receive.tls.trusted_certificates",
        "destinations[1].tls.certificate",
        "destinations[1].tls.trusted_certificates",
    }
    (own,) = [float(at) for field, at in found if field == "receive.tls.certificate"]
    assert 89 < (own - datetime.now(UTC).timestamp()) / 86400 < 91


def test_what_runs_out_soon_is_warned_of_and_what_did_is_an_error(tmp_path: Path, authority: Authority) -> None:
    settings = loaded(tmp_path, authority, days=90)
    now = datetime.now(UTC)
    with structlog.testing.capture_logs() as logs:
        warn_of_expiry(settings, now)
    assert {(entry["event"], entry["field"]) for entry in logs} == {
        ("tls_file_expires_soon", "receive.tls.trusted_certificates"),  # the authority of the tests lives for two days
        ("tls_file_expires_soon", "destinations[1].tls.trusted_certificates"),
    }
    expired = loaded(tmp_path, authority, days=-1)
    with structlog.testing.capture_logs() as logs:
        warn_of_expiry(expired, now)
    assert ("tls_file_expired", "receive.tls.certificate") in {(entry["event"], entry["field"]) for entry in logs}


def test_a_file_that_vanished_is_told_and_hides_no_other_date(tmp_path: Path, authority: Authority) -> None:
    settings = loaded(tmp_path, authority)
    (tmp_path / "own.pem").unlink()
    with structlog.testing.capture_logs() as logs:
        known = known_expiries(settings)
    assert [expiry.path.name for expiry in known] == ["authority.pem"] * 2
    assert [(entry["event"], entry["field"]) for entry in logs] == [
        ("tls_file_not_read", "receive.tls.certificate"),
        ("tls_file_not_read", "destinations[1].tls.certificate"),
    ]
