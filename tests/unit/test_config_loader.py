"""Every mistake in the configuration is told at once, with file, line, field and what to do."""

from pathlib import Path

import pytest
import yaml

import config
from config import ConfigurationError, check_ready_to_serve, load, model_digest, prompt_set_digest
from tests.embedded import FINDING, FINDINGS, MODEL, shipped

ROUTES_END = "  - {name: rest, no_analysis: nothing takes it}\n"


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def mistakes(path: Path) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(path)
    return str(caught.value).splitlines()


def one_mistake(path: Path) -> str:
    (line,) = mistakes(path)
    return line


def site(folder: Path, routes: str = "", settings: str = "") -> Path:
    """A settings file with routes of its own that end well."""
    write(folder, "routes.yaml", "routes:\n" + routes + ROUTES_END)
    return write(folder, "settings.yaml", "routes_file: routes.yaml\n" + settings)


def write_yaml(folder: Path, name: str, value: object) -> Path:
    return write(folder, name, yaml.safe_dump(value, sort_keys=False))


def shipped_manifest(**changes: object) -> dict[str, object]:
    manifest = shipped().model_dump(mode="json")
    return {**manifest, "quality": None, **changes}


def test_a_typo_in_a_settings_name_is_named_with_its_line_and_the_right_name(tmp_path: Path) -> None:
    path = write(tmp_path, "settings.yaml", "node:\n  site: north\n  ae_titel: NODE\n")
    assert one_mistake(path) == f"{path}:3: node.ae_titel: unknown field; did you mean 'ae_title'?"


def test_a_wrong_value_is_named_with_what_the_field_is_for(tmp_path: Path) -> None:
    path = write(tmp_path, "settings.yaml", "receive:\n  port: eleven\n")
    line = one_mistake(path)
    assert line.startswith(f"{path}:2: receive.port: ")
    assert "not 'eleven'" in line
    assert "TCP port" in line


def test_a_missing_field_is_named_at_the_section_that_lacks_it(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "settings.yaml",
        "destinations:\n  - {kind: folder, name: a, folder: out}\n  - kind: c-store\n    name: pacs\n    host: h\n    port: 104\n",
    )
    assert one_mistake(path) == f"{path}:3: destinations[1].ae_title: missing; add it: Called AE title"


def test_a_typo_inside_a_destination_is_matched_with_the_fields_of_its_kind(tmp_path: Path) -> None:
    path = write(tmp_path, "settings.yaml", "destinations:\n  - kind: folder\n    name: a\n    folder: out\n    foldr: out\n")
    assert one_mistake(path) == f"{path}:5: destinations[0].foldr: unknown field; did you mean 'folder'?"


def test_a_field_given_twice_is_a_mistake(tmp_path: Path) -> None:
    path = write(tmp_path, "settings.yaml", "node:\n  site: north\n  ae_title: A\n  site: south\n")
    assert one_mistake(path) == f"{path}:4: node.site: given twice, first in line 2; remove one"


def test_a_field_given_twice_inside_an_anchor_is_told_once(tmp_path: Path) -> None:
    path = write(tmp_path, "settings.yaml", "a: &x\n  b: 1\n  b: 2\nc: *x\n")
    assert one_mistake(path) == f"{path}:3: a.b: given twice, first in line 2; remove one"


def test_a_mistake_inside_an_anchor_is_named_where_it_is_written(tmp_path: Path) -> None:
    anchor = "    exclude: &out\n      - reason: old\n        when: [{attribute: Modality, equal: CT}]\n"
    path = site(tmp_path, f"  - name: a\n{anchor}  - name: b\n    exclude: *out\n")
    routes = tmp_path / "routes.yaml"
    found = [line.split(": ")[:2] for line in mistakes(path) if "unknown field" in line]
    assert found == [[f"{routes}:5", f"routes[{number}].exclude[0].when[0].equal"] for number in (0, 1)]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("node: {site: [}\n", 1, "is not YAML"),
        ("node:\n\tsite: a\n", 2, "is not YAML"),
        ("node: &a\n  x: *a\n", 1, "alias stands inside its own anchor"),
        ("a: &a {x: 1}\nnode:\n  <<: *a\n", 3, "merge keys are not used here"),
        ("node:\n  yes: 1\n", 2, "a field name must be text"),
        ("node: {}\n---\nnode: {}\n", 2, "is not YAML"),
        ("node: !!python/object:os.system {}\n", 1, "is not YAML"),
        ("- 1\n", 1, "should be a valid dictionary"),
    ],
)
def test_a_file_that_is_no_proper_yaml_is_named_with_the_line(tmp_path: Path, text: str, line: int, words: str) -> None:
    path = write(tmp_path, "settings.yaml", text)
    found = one_mistake(path)
    assert found.startswith(f"{path}:{line}: ")
    assert words in found


def test_a_file_that_is_not_there_or_not_text_is_a_mistake(tmp_path: Path) -> None:
    assert "cannot be read" in one_mistake(tmp_path / "absent.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    assert "is not UTF-8" in one_mistake(tmp_path / "binary.yaml")


def test_an_empty_settings_file_means_the_defaults(tmp_path: Path) -> None:
    settings, catalogue = load(write(tmp_path, "settings.yaml", "# nothing yet\n"))
    assert settings.receive.port == 11112
    assert catalogue == load(None)[1]


def test_all_mistakes_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    routes = f"  - {{name: a, when: [{{attribute: Modalty, equals: CT}}]}}\n  - {{name: b, model: {MODEL}, expct: [head-ct]}}\n"
    path = site(tmp_path, routes, "work:\n  batch_size: 0\nmodels:\n  folders: [more]\n")
    write(tmp_path, "more/prompts/p.yaml", "name: p\nversion: one\n")
    found = mistakes(path)
    assert [line.split(": ")[0].rsplit("/", 1)[-1] + " " + line.split(": ")[1] for line in found] == [
        "p.yaml:1 labels",
        "p.yaml:1 recipe",
        "p.yaml:1 temperature",
        "p.yaml:2 version",
        "routes.yaml:2 routes[0].when[0].attribute[0]",
        "routes.yaml:3 routes[1].expct",
        "settings.yaml:3 work.batch_size",
    ]
    assert "did you mean 'Modality'?" in str(found)


def test_relative_paths_lie_beside_the_settings_file(tmp_path: Path) -> None:
    write(tmp_path, "more/models/x.yaml", yaml.safe_dump(shipped_manifest(name="x", weights={"folder": "w", "sha256": "0" * 64})))
    path = site(
        tmp_path,
        "",
        "node: {data_folder: data}\nmodels: {folders: [more]}\ndestinations:\n  - {kind: folder, name: out, folder: results}\n",
    )
    settings, catalogue = load(path)
    assert settings.node.data_folder == tmp_path / "data"
    assert settings.routes_file == tmp_path / "routes.yaml"
    assert settings.models.folders == (tmp_path / "more",)
    (destination,) = settings.destinations
    assert destination.kind == "folder"
    assert destination.folder == tmp_path / "results"
    assert catalogue.weights_path(catalogue.manifest("x")) == tmp_path / "more/models/w"


def test_a_models_folder_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    path = write(tmp_path, "settings.yaml", "models:\n  folders:\n    - nowhere\n")
    assert one_mistake(path) == f"{path}:3: models.folders[0]: there is no folder {tmp_path / 'nowhere'}; make it or remove the entry"


@pytest.mark.parametrize(
    ("rule", "field", "words"),
    [
        (f"{{name: a, model: {MODEL}x}}", "model", f"there is no model '{MODEL}x'; did you mean '{MODEL}'?"),
        (f"{{name: a, model: {MODEL}, prompt_set: zebra}}", "prompt_set", "there is no prompt set 'zebra'; known are: "),
        (f"{{name: a, model: {MODEL}, prompt_set: image-quality}}", "prompt_set", "image-quality holds faults, not findings"),
        ("{name: a, destinations: [pacs, pac]}", "destinations[1]", "there is no destination 'pac'; did you mean 'pacs'?"),
        (
            f"{{name: a, model: {MODEL}, expect: [hed-ct]}}",
            "expect[0]",
            f"the gate of {MODEL} has no kind 'hed-ct'; did you mean 'head-ct'?",
        ),
    ],
)
def test_a_route_that_names_something_unknown_is_a_mistake(tmp_path: Path, rule: str, field: str, words: str) -> None:
    path = site(tmp_path, f"  - {rule}\n", "destinations: [{kind: folder, name: pacs, folder: out}]\n")
    line = one_mistake(path)
    assert line.startswith(f"{tmp_path / 'routes.yaml'}:2: routes[0].{field}: {words}")


def test_a_reference_to_a_model_with_mistakes_is_not_called_unknown(tmp_path: Path) -> None:
    path = site(tmp_path, "  - {name: a, model: mine}\n", "models: {folders: [.]}\n")
    architecture = {"family": "open_clip", "logit_scale": {"kind": "stored"}, "quick_gelu": "perhaps"}
    write_yaml(tmp_path, "models/mine.yaml", shipped_manifest(name="mine", architecture=architecture))
    assert "architecture.quick_gelu" in one_mistake(path)


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"architecture": {"family": "open_clip", "logit_scale": {"kind": "stored"}}}, "architecture.quick_gelu", "missing; add it"),
        ({"architecture": {"quick_gelu": False}}, "architecture.family", "missing; add it"),
        ({"architecture": {"family": "opn_clip"}}, "architecture.family", "there is no 'opn_clip'; did you mean 'open_clip'?"),
        ({"preprocessing": {"resize_mode": "shrink"}}, "preprocessing.resize_mode", "there is no 'shrink'"),
    ],
)
def test_a_fact_that_tensors_do_not_reveal_is_asked_for_by_name(tmp_path: Path, change: dict[str, object], field: str, words: str) -> None:
    path = site(tmp_path, "  - {name: a, model: mine}\n", "models: {folders: [.]}\n")
    write_yaml(tmp_path, "models/mine.yaml", shipped_manifest(name="mine", **change))
    assert f"{field}: {words}" in one_mistake(path)


def test_a_route_needs_weights_that_are_there(tmp_path: Path) -> None:
    path = site(tmp_path, "  - {name: a, model: mine}\n", "models: {folders: [.]}\n")
    write_yaml(
        tmp_path, "models/mine.yaml", shipped_manifest(name="mine", weights={"folder": "gone", "file": "w.safetensors", "sha256": "0" * 64})
    )
    assert f"the weights of mine are not at {tmp_path / 'models/gone/w.safetensors'}" in one_mistake(path)


def test_weights_in_a_package_that_is_not_installed_are_a_mistake(tmp_path: Path) -> None:
    path = site(tmp_path, "  - {name: a, model: mine}\n", "models: {folders: [.]}\n")
    write_yaml(
        tmp_path, "models/mine.yaml", shipped_manifest(name="mine", weights={"folder": "package:no_such_package/x", "sha256": "0" * 64})
    )
    assert "a package that is not installed" in one_mistake(path)


def test_a_model_under_restrictive_terms_may_be_listed_but_not_used_before_somebody_read_them(tmp_path: Path) -> None:
    licence = {"usage": "non-commercial", "name": "CC-BY-NC-4.0", "read": "LICENCE of the publisher"}
    write_yaml(tmp_path, "models/mine.yaml", shipped_manifest(name="mine", licence=licence))
    load(site(tmp_path, "", "models: {folders: [.]}\n"))
    line = one_mistake(site(tmp_path, "  - {name: a, model: mine}\n", "models: {folders: [.]}\n"))
    assert "non-commercial (CC-BY-NC-4.0); read LICENCE of the publisher, then add it to models.acknowledged_licences" in line
    load(site(tmp_path, "  - {name: a, model: mine}\n", "models: {folders: [.], acknowledged_licences: [mine]}\n"))


def test_an_acknowledged_licence_of_an_unknown_model_is_a_mistake(tmp_path: Path) -> None:
    path = write(tmp_path, "settings.yaml", "models:\n  acknowledged_licences: [no-such-model]\n")
    assert one_mistake(path).startswith(f"{path}:2: models.acknowledged_licences[0]: there is no model 'no-such-model'")


def test_two_models_of_one_name_are_a_mistake(tmp_path: Path) -> None:
    write_yaml(tmp_path, "models/again.yaml", shipped_manifest())
    line = one_mistake(site(tmp_path, "", "models: {folders: [.]}\n"))
    assert line.startswith(f"{tmp_path / 'models/again.yaml'}:1: name: '{MODEL}' is also the name in ")


def test_a_gate_needs_a_known_prompt_set_with_several_classes(tmp_path: Path) -> None:
    gate = {"prompt_set": "kind-of-imag", "minimum_probability": 0.5, "threshold_source": "chosen"}
    write_yaml(tmp_path, "models/mine.yaml", shipped_manifest(name="mine", gate=gate))
    path = site(tmp_path, "", "models: {folders: [.]}\n")
    assert "gate.prompt_set: there is no prompt set 'kind-of-imag'; did you mean 'kind-of-image'?" in one_mistake(path)
    write_yaml(tmp_path, "models/mine.yaml", shipped_manifest(name="mine", gate={**gate, "prompt_set": FINDINGS}))
    assert "a gate needs the recipe multi-class-softmax" in one_mistake(path)


def test_expected_kinds_need_a_model_with_a_gate(tmp_path: Path) -> None:
    write_yaml(tmp_path, "models/mine.yaml", shipped_manifest(name="mine", gate=None))
    path = site(tmp_path, "  - {name: a, model: mine, expect: [head-ct]}\n", "models: {folders: [.]}\n")
    assert "model mine has no gate" in one_mistake(path)


KINDS = {"prompt_set": "kind-of-image", "minimum_probability": 0.5, "threshold_source": "chosen"}


def quality() -> dict[str, object]:
    limit = {"threshold": 0.9, "threshold_source": "1 % of 900 clean images", "kinds": ["chest-radiograph"]}
    return {"prompt_set": "image-quality", "labels": {"rotated-90": limit}}


def with_quality(folder: Path, **changes: object) -> Path:
    """A site with one model more, whose manifest has a gate of every kind and a limit for one fault; changes are of the manifest."""
    write_yaml(folder, "models/mine.yaml", shipped_manifest(name="mine") | {"gate": KINDS, "quality": quality()} | changes)
    return site(folder, "", "models: {folders: [.]}\n")


def test_limits_of_image_quality_are_read_for_the_faults_that_are_named(tmp_path: Path) -> None:
    found = load(with_quality(tmp_path))[1].manifest("mine").quality
    assert found is not None
    assert set(found.labels) == {"rotated-90"}
    limit = found.labels["rotated-90"]
    assert (limit.threshold, limit.kinds) == (0.9, ("chest-radiograph",))


def test_a_model_is_asked_what_its_gate_its_image_quality_and_its_routes_name(tmp_path: Path) -> None:
    path = with_quality(tmp_path)
    write(tmp_path, "routes.yaml", f"routes:\n  - {{name: a, model: mine, prompt_set: {FINDINGS}, expect: [mammogram]}}\n" + ROUTES_END)
    catalogue = load(path)[1]
    assert catalogue.prompt_sets_asked(catalogue.manifest("mine")) == ("kind-of-image", "image-quality", FINDINGS)


LIMIT = {"threshold": 0.9, "threshold_source": "chosen"}
WRONG_LIMITS: tuple[tuple[dict[str, object], str, str], ...] = (
    ({"prompt_set": "image-qualty"}, "prompt_set", "there is no prompt set 'image-qualty'; did you mean 'image-quality'?"),
    ({"prompt_set": "kind-of-image"}, "prompt_set", "image quality needs the recipe pair-softmax"),
    ({"prompt_set": FINDINGS, "labels": {FINDING: LIMIT}}, f"labels.{FINDING}", "give that label a fault"),
    ({"labels": {"rotatd-90": LIMIT}}, "labels.rotatd-90", "did you mean 'rotated-90'?"),
    ({"labels": {"noisy": {**LIMIT, "kinds": ["chest-xray"]}}}, "labels.noisy.kinds[0]", "the gate of mine has no kind 'chest-xray'"),
    ({"labels": {"noisy": {**LIMIT, "threshold": 1.5}}}, "labels.noisy.threshold", "less than 1"),
    ({"labels": {"noisy": {**LIMIT, "threshold_source": ""}}}, "labels.noisy.threshold_source", "counts and false-alarm rate"),
    ({"labels": {"noisy": {"threshold_source": "x"}}}, "labels.noisy.threshold", "missing"),
    ({"labels": {}}, "labels", "at least 1 item"),
)


@pytest.mark.parametrize(("changes", "field", "words"), WRONG_LIMITS)
def test_a_limit_of_image_quality_that_fits_nothing_is_a_mistake(
    tmp_path: Path, changes: dict[str, object], field: str, words: str
) -> None:
    line = one_mistake(with_quality(tmp_path, quality=quality() | changes))
    assert line.startswith(f"{tmp_path / 'models/mine.yaml'}:")
    assert f": quality.{field}: " in line
    assert words in line


def test_kinds_of_image_need_a_gate_that_tells_them_apart(tmp_path: Path) -> None:
    assert "model mine has no gate, which would tell kinds apart; remove kinds" in one_mistake(with_quality(tmp_path, gate=None))


@pytest.mark.parametrize(
    ("recipe", "extra", "words"),
    [
        (
            "multi-class-softmax",
            "fault: {grade: limited, sentence: Bad.}",
            "a fault is there or not, which needs the recipe pair-softmax",
        ),
        ("pair-softmax", "foreign: a document", "foreign is said of a kind of image, which needs the recipe multi-class-softmax"),
    ],
)
def test_a_prompt_set_holds_faults_or_kinds_and_never_both(tmp_path: Path, recipe: str, extra: str, words: str) -> None:
    label = f"{{name: a, concept: {{value: x, scheme: DCM, meaning: x}}, positive: [a], negative: [b], {extra}}}"
    write(tmp_path, "prompts/p.yaml", f"name: p\nversion: 1\nrecipe: {recipe}\ntemperature: model\nlabels:\n  - {label}\n")
    assert words in one_mistake(site(tmp_path, "", "models: {folders: [.]}\n"))


def calibration(**changes: object) -> dict[str, object]:
    catalogue = load(None)[1]
    value: dict[str, object] = {
        "id": "north-1",
        "site": "north",
        "model": MODEL,
        "model_digest": model_digest(catalogue.manifest(MODEL)),
        "prompt_set": FINDINGS,
        "prompt_set_digest": prompt_set_digest(catalogue.prompt_set(FINDINGS)),
        "labels": {FINDING: {"slope": 1, "intercept": 0, "threshold": 0.7, "undetermined_from": 0.3, "source": "40 studies"}},
    }
    return {**value, **changes}


def test_a_calibration_is_found_for_its_site_only(tmp_path: Path) -> None:
    write_yaml(tmp_path, "calibrations/north-1.yaml", calibration())
    _, catalogue = load(site(tmp_path, "", "models: {folders: [.]}\n"))
    manifest, prompts = catalogue.manifest(MODEL), catalogue.prompt_set(FINDINGS)
    found = catalogue.calibration_for(manifest, prompts, "north")
    assert found is not None
    assert found.id == "north-1"
    assert catalogue.calibration_for(manifest, prompts, "south") is None
    assert catalogue.calibration_for(manifest, prompts.model_copy(update={"version": 2}), "north") is None
    assert catalogue.calibration_for(manifest, catalogue.prompt_set("kind-of-image"), "north") is None
    resized = manifest.preprocessing.model_copy(update={"image_size": 64})
    assert catalogue.calibration_for(manifest.model_copy(update={"preprocessing": resized}), prompts, "north") is None
    elsewhere = manifest.model_copy(update={"weights": manifest.weights.model_copy(update={"folder": "elsewhere"}), "quality": None})
    assert catalogue.calibration_for(elsewhere, prompts, "north") == found


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"model_digest": "0" * 64}, "model_digest", f"preprocessing, views or looks of {MODEL}, whose digest is now"),
        ({"prompt_set_digest": "0" * 64}, "prompt_set_digest", f"made for other words of {FINDINGS}; recalibrate"),
        ({"model": "nobody"}, "model", "there is no model 'nobody'"),
        ({"prompt_set": "nothing"}, "prompt_set", "there is no prompt set 'nothing'"),
        (
            {"labels": {"pneumona": {"slope": 1, "intercept": 0, "threshold": 0.7, "undetermined_from": 0.3, "source": "x"}}},
            "labels.pneumona",
            f"has no label 'pneumona'; did you mean '{FINDING}'?",
        ),
    ],
)
def test_a_calibration_that_fits_nothing_any_more_is_a_mistake(tmp_path: Path, changes: dict[str, object], field: str, words: str) -> None:
    file = write_yaml(tmp_path, "calibrations/north-1.yaml", calibration(**changes))
    line = one_mistake(site(tmp_path, "", "models: {folders: [.]}\n"))
    assert line.startswith(f"{file}:")
    assert f": {field}: " in line
    assert words in line


def test_two_calibrations_for_the_same_thing_are_a_mistake(tmp_path: Path) -> None:
    write_yaml(tmp_path, "calibrations/a.yaml", calibration())
    write_yaml(tmp_path, "calibrations/b.yaml", calibration(id="north-2"))
    assert "north-1 is for the same site, model and prompt set" in one_mistake(site(tmp_path, "", "models: {folders: [.]}\n"))


def test_the_digest_of_a_prompt_set_changes_with_every_word() -> None:
    prompts = load(None)[1].prompt_set("kind-of-image")
    assert prompt_set_digest(prompts) == prompt_set_digest(type(prompts).model_validate(prompts.model_dump(mode="json")))
    assert prompt_set_digest(prompts) != prompt_set_digest(prompts.model_copy(update={"templates": ("an {}",)}))


def test_routes_must_end_in_one_that_takes_the_rest(tmp_path: Path) -> None:
    write(tmp_path, "routes.yaml", "routes:\n  - {name: ct, when: [{attribute: Modality, equals: CT}]}\n")
    path = write(tmp_path, "settings.yaml", "routes_file: routes.yaml\n")
    assert one_mistake(path).startswith(f"{tmp_path / 'routes.yaml'}:1: file: the last route must take the rest")


@pytest.mark.parametrize(
    ("match", "words"),
    [
        ("{attribute: Modality}", "give exactly one of: equals"),
        ("{attribute: Modality, equals: CT, present: true}", "give exactly one of: equals"),
        ("{attribute: Modality, matches: '('}", "not a regular expression"),
        ("{attribute: [Modality, Bodypart], equals: CT}", "'Bodypart' is not a DICOM keyword"),
        ("{attribute: Modality.CodeValue, equals: CT}", "Modality is not a sequence"),
        ("{attribute: AnatomicRegionSequence, equals: CT}", "AnatomicRegionSequence is a sequence; test its presence"),
        ("{attribute: [], equals: CT}", "at least 1 item"),
    ],
)
def test_a_condition_that_can_never_work_is_a_mistake(tmp_path: Path, match: str, words: str) -> None:
    line = one_mistake(site(tmp_path, f"  - name: a\n    when:\n      - {match}\n"))
    assert line.startswith(f"{tmp_path / 'routes.yaml'}:4: routes[0].when[0]")
    assert words in line


def test_nobody_may_send_until_the_settings_say_who(tmp_path: Path) -> None:
    path = write(tmp_path, "settings.yaml", "receive:\n  port: 104\n")
    with pytest.raises(ConfigurationError, match=r"settings.yaml:1: receive.calling_ae_titles: nobody may associate"):
        check_ready_to_serve(load(path)[0], path)
    with pytest.raises(ConfigurationError, match="nobody may associate"):
        check_ready_to_serve(load(None)[0])


def test_an_urgent_sender_must_be_allowed_to_send(tmp_path: Path) -> None:
    path = write(tmp_path, "settings.yaml", "receive:\n  calling_ae_titles: [CT1]\n  urgent_calling_ae_titles: [CT1, ER]\n")
    with pytest.raises(ConfigurationError, match=r":3: receive.urgent_calling_ae_titles: 'ER' may not associate"):
        check_ready_to_serve(load(path)[0], path)
    check_ready_to_serve(load(write(tmp_path, "ok.yaml", "receive: {calling_ae_titles: [CT1]}\n"))[0])
    check_ready_to_serve(load(write(tmp_path, "any.yaml", "receive: {any_calling_ae_title: true}\n"))[0])


def test_names_in_the_catalogue_that_nobody_has_raise_a_key_error() -> None:
    catalogue = load(None)[1]
    for lookup in (catalogue.manifest, catalogue.prompt_set, catalogue.route):
        with pytest.raises(KeyError):
            lookup("nobody")
    assert isinstance(catalogue, config.Catalogue)
