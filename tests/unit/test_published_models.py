"""The published models that this node knows: what their descriptions say, which prompts fit them, and when a route uses one."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from config import load
from config.catalogue import companion, prompt_set_digest, published_model, published_models
from config.heads import heads_of
from config.manifests import ModelManifest, PublishedModel
from config.preferences import may_be_used, preference_states, switched_on
from config.prompt_sets import PromptSet
from config.routes import Preference, RouteRule
from dicom_node.commands import app
from inference.adapters import ADAPTERS
from inference.importing import IMPORTERS
from inference.importing.install import ImportRequest, install
from inference.importing.published import ImportRefusedError
from tests.golden_fixtures import write_fixture

CATALOGUE = load(None)[1]
ASKED = sorted({(one.model, one.prompt_set) for route in CATALOGUE.routes for one in route.prefer})
PUBLISHED = [prompt_set for prompt_set in CATALOGUE.prompt_sets if prompt_set.source]

# What a small model of the same layout must have otherwise: its size, and what follows from it.
SIZES = {
    "preprocessing.image_size",
    "preprocessing.canvas_size",
    "architecture.image_heads",
    "architecture.text_heads",
    "architecture.text",
    "tokenizer.context_length",
}


def installed(name: str) -> ModelManifest:
    """A manifest as an import of this published model writes it."""
    known = published_model(name)
    assert known is not None
    facts = known.model_dump(mode="json", include=set(ModelManifest.model_fields))
    return ModelManifest.model_validate({**facts, "weights": {"folder": name, "sha256": "0" * 64}})


def labels(name: str) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    return {label.name: (label.positive, label.negative) for label in CATALOGUE.prompt_set(name).labels}


@pytest.mark.parametrize("model", published_models(), ids=lambda model: model.name)
def test_a_description_can_be_loaded_says_whose_it_is_and_that_it_is_not_for_diagnosis(model: PublishedModel) -> None:
    assert model.family in ADAPTERS
    assert model.family in IMPORTERS
    assert model.intended_use.endswith("Not for diagnosis.")
    assert model.licence.read, "what to read before using it"
    assert all(companion(place).is_file() for place in model.companions.values())
    assert not set(model.companions) & set(model.supplement)


def test_each_model_that_is_not_free_to_use_asks_for_an_acknowledgement() -> None:
    asking = {model.name: model.licence.usage for model in published_models() if model.licence.needs_acknowledgement}
    assert asking == {
        "chexzero": "unlicensed",
        "medsiglip-448": "gated",
        "monet": "non-commercial",
        "plip": "unlicensed",
        "ret-clip": "unlicensed",
        "unimed-clip-b16": "non-commercial",
        "unimed-clip-l14": "non-commercial",
    }


@pytest.mark.parametrize(
    ("name", "file", "digest"),
    [
        ("openai-clip-vit-b-32", "ViT-B-32.pt", "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"),
        ("openai-clip-vit-l-14", "ViT-L-14.pt", "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836"),
    ],
)
def test_digests_that_the_publisher_gave_are_known(name: str, file: str, digest: str) -> None:
    known = published_model(name)
    assert known is not None
    assert known.files == {file: digest}


def test_what_no_publisher_ships_comes_along_with_the_numbers_of_bert_base() -> None:
    numbers = {name: json.loads(companion(f"{name}/config.json").read_text()) for name in ("biomedbert-base", "bio-clinicalbert")}
    assert {name: one["vocab_size"] for name, one in numbers.items()} == {"biomedbert-base": 30522, "bio-clinicalbert": 28996}
    assert all((one["hidden_size"], one["num_hidden_layers"], one["num_attention_heads"]) == (768, 12, 12) for one in numbers.values())
    vocabulary = companion("chinese-bert/vocab.txt").read_text(encoding="utf-8").removesuffix("\n").split("\n")
    assert (len(vocabulary), vocabulary[0], vocabulary[101]) == (21128, "[PAD]", "[CLS]")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("openai-clip-vit-b-32", "torchscript"),
        ("openai-clip-rn50", "openai-resnet"),
        ("chexzero", "chexzero"),
        ("whyxrayclip", "open-clip"),
        ("plip", "hf-clip"),
        ("medsiglip-448", "siglip"),
        ("flair", "flair"),
        ("ret-clip", "ret-clip"),
        ("unimed-clip-b16", "unimed-clip"),
        ("keep", "keep"),
    ],
)
def test_a_description_agrees_with_what_reference_outputs_of_its_layout_say(name: str, kind: str, tmp_path: Path) -> None:
    fixture = write_fixture(kind, tmp_path / kind)
    told = json.loads((fixture / "golden.json").read_text(encoding="utf-8"))
    supplement = fixture / "supplement"
    imported = install(
        ImportRequest(
            source=fixture / told["checkpoint"]["dir"],
            name=name,
            golden=fixture,
            supplement=supplement if supplement.is_dir() else None,
            description=published_model(name),
        ),
        tmp_path / "site",
    )
    contradicted = {field for field, _, origin in imported.report.overruled if origin == f"published model {name}"}
    # Numbers of a made-up model; the small PLIP crops as OpenAI does, a pixel at most from what its publisher's processor does.
    own = {"preprocessing.mean", "preprocessing.std", "architecture.logit_scale"} | (
        {"preprocessing.crop_offset"} if name == "plip" else set()
    )
    assert contradicted <= SIZES | own, contradicted - SIZES - own


@pytest.mark.parametrize(("model", "prompt_set"), ASKED)
def test_every_preferred_prompt_set_fits_its_model(model: str, prompt_set: str) -> None:
    known, asked = published_model(model), CATALOGUE.prompt_set(prompt_set)
    assert known is not None
    assert asked.name.startswith(model.removesuffix("-448").removesuffix("-l14").removesuffix("-b16"))
    assert (asked.recipe == "sigmoid") == (known.family == "siglip"), "only SigLIP has the bias that a sigmoid needs"
    heads = heads_of(known.architecture)
    assert {asked.head_of(label) for label in asked.labels} <= (set(heads) if heads else {None})
    assert asked.language == ("zh" if model == "ret-clip" else "en")


@pytest.mark.parametrize("prompt_set", PUBLISHED, ids=lambda prompt_set: prompt_set.name)
def test_a_published_prompt_set_flags_nothing_and_says_where_its_words_come_from(prompt_set: PromptSet) -> None:
    assert {label.flag for label in prompt_set.labels} == {"none"}, "no published model is calibrated for a site"
    assert "licence" not in prompt_set.model_fields_set or prompt_set.licence


def test_chexzero_asks_its_published_pairs_without_a_temperature() -> None:
    asked = CATALOGUE.prompt_set("chexzero-chest-radiograph")
    assert (asked.recipe, asked.temperature) == ("pair-softmax", "none")
    assert labels(asked.name)["pleural-effusion"] == (("Pleural Effusion",), ("no Pleural Effusion",))
    assert len(asked.labels) == 13
    assert all(negative == tuple(f"no {text}" for text in positive) for positive, negative in labels(asked.name).values())


def test_published_templates_are_used_as_published() -> None:
    assert CATALOGUE.prompt_set("biomedclip-head-ct").templates == ("this is a photo of {}",)
    assert CATALOGUE.prompt_set("plip-tissue").templates == ("An H&E image patch of {} tissue.",)
    assert "an H&E image of {}." in CATALOGUE.prompt_set("keep-tumor").templates
    assert CATALOGUE.prompt_set("whylesionclip-dermoscopy").recipe == "concept-mean"
    monet = CATALOGUE.prompt_set("monet-dermoscopy")
    assert (monet.recipe, monet.reference_pairing) == ("target-versus-reference", "template")


def test_flair_averages_the_descriptions_of_an_expert_and_the_name_as_they_are() -> None:
    asked = CATALOGUE.prompt_set("flair-fundus")
    assert (asked.templates, asked.ensemble) == (("A fundus photograph of {}",), "scores")
    assert labels(asked.name)["macular-hole"][0] == ("lesion in the macula", "grayish fovea", "macular hole")


def test_ret_clip_is_asked_in_chinese_about_the_patient_and_each_eye() -> None:
    asked = CATALOGUE.prompt_set("ret-clip-fundus")
    where = {(asked.head_of(label), asked.level_of(label)) for label in asked.labels}
    assert where == {("patient", "patient"), ("left", "image"), ("right", "image")}
    assert labels(asked.name)["left-glaucoma"][0][0] == "左眼青光眼"


def test_one_other_word_is_another_digest() -> None:
    asked = CATALOGUE.prompt_set("plip-tissue")
    changed = asked.model_copy(update={"templates": ("An H&E image of {} tissue.",)})
    assert prompt_set_digest(asked) != prompt_set_digest(changed)


ROUTE = RouteRule(
    name="tissue",
    model="gatekeeper",
    prefer=(Preference(model="plip", prompt_set="plip-tissue"), Preference(model="keep", prompt_set="keep-tumor")),
)
BOTH = (installed("plip"), installed("keep"))


@pytest.mark.parametrize(
    ("manifests", "acknowledged", "found"),
    [
        ((), (), (None, None)),
        (BOTH[:1], (), (None, None)),
        (BOTH[:1], ("plip",), ("plip", "plip-tissue")),
        (BOTH, (), ("keep", "keep-tumor")),
        (BOTH, ("plip",), ("plip", "plip-tissue")),
    ],
    ids=["nothing installed", "terms not acknowledged", "acknowledged", "free one installed", "the first that may be used"],
)
def test_a_route_switches_to_the_first_preferred_model_that_may_be_used(
    manifests: tuple[ModelManifest, ...], acknowledged: tuple[str, ...], found: tuple[str | None, str | None]
) -> None:
    route = switched_on(ROUTE, manifests, acknowledged)
    assert (route.searched_by, route.prompt_set) == found
    assert route.model == "gatekeeper", "kind and quality stay with the route's own model"


def test_before_a_model_is_installed_the_route_says_what_to_do() -> None:
    plip, keep = preference_states(ROUTE, (), published_models(), ())
    assert (plip.state, keep.state, keep.remedy) == ("not installed", "not installed", "dicom-node models import KEEP --as keep")
    assert "models.acknowledged_licences" in plip.remedy
    plip, keep = preference_states(ROUTE, BOTH, published_models(), ())
    assert (plip.state, keep.state) == ("licence not acknowledged", "in use")
    assert plip.remedy.startswith("it is unlicensed (none stated): read the model card of vinid/plip")


def site(folder: Path, *names: str, settings: str = "", routes: str = "") -> Path:
    """Settings of a node with these models installed; the weights are empty files."""
    (folder / "site" / "models").mkdir(parents=True)
    for name in names:
        (folder / "site" / "models" / f"{name}.yaml").write_text(installed(name).model_dump_json())
        (folder / "site" / "models" / name).mkdir()
        (folder / "site" / "models" / name / "open_clip_model.safetensors").touch()
    if routes:
        (folder / "routes.yaml").write_text(f"routes:\n{routes}  - {{name: rest, no_analysis: nothing}}\n")
        settings += "routes_file: routes.yaml\n"
    path = folder / "node.yaml"
    path.write_text("models: {folders: [site]" + settings.partition("\n")[0] + "}\n" + settings.partition("\n")[2])
    return path


def run(*arguments: object) -> str:
    done = CliRunner().invoke(app, [*map(str, arguments)])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_an_installed_model_is_used_by_the_shipped_route_once_its_terms_are_acknowledged(tmp_path: Path) -> None:
    before = load(site(tmp_path / "a", "plip"))[1]
    assert before.route("microscopy").models == ("gatekeeper",)
    after = load(site(tmp_path / "b", "plip", settings=", acknowledged_licences: [plip]\n"))[1]
    assert after.route("microscopy").models == ("gatekeeper", "plip")
    assert after.prompt_sets_asked(after.manifest("plip")) == ("plip-tissue",)
    assert "plip" in after.models_used()
    assert "plip" not in before.models_used()


def test_a_route_of_the_site_that_names_an_unacknowledged_model_is_a_mistake_that_says_what_to_read(tmp_path: Path) -> None:
    rule = "  - {name: tissue, model: gatekeeper, findings_model: plip, prompt_set: plip-tissue}\n"
    path = site(tmp_path, "plip", routes=rule, settings="\n")
    done = CliRunner().invoke(app, ["check-config", str(path)])
    assert done.exit_code == 1
    assert "findings_model: model plip is unlicensed (none stated); read the model card of vinid/plip" in done.output
    assert "then add it to models.acknowledged_licences" in done.output


def test_terms_can_be_acknowledged_before_the_model_is_imported(tmp_path: Path) -> None:
    settings, _ = load(site(tmp_path, settings=", acknowledged_licences: [medsiglip-448]\n"))
    assert settings.models.acknowledged_licences == ("medsiglip-448",)


def test_models_list_shows_what_can_be_imported_and_how(tmp_path: Path) -> None:
    listed = {one["name"]: one for one in json.loads(run("models", "list", "--json", "--config", site(tmp_path, "keep")))}
    assert listed["keep"]["installed"]
    assert listed["keep"]["routes"] == ["microscopy"]
    plip = listed["plip"]
    assert (plip["installed"], plip["may_be_used"], plip["command"]) == (False, False, "dicom-node models import plip --as plip")
    assert "Published models that are not installed" in run("models", "list")
    assert "huggingface.co/vinid/plip" in run("models", "show", "plip", "--json")


def test_routes_list_says_which_model_a_route_would_use_and_how_to_import_it(tmp_path: Path) -> None:
    routes = {one["name"]: one for one in json.loads(run("routes", "list", "--json", "--config", site(tmp_path, "keep")))}
    assert [(one["model"], one["state"]) for one in routes["microscopy"]["prefer"]] == [("keep", "in use"), ("plip", "not installed")]
    assert routes["microscopy"]["findings_model"] == "keep"
    assert "findings_model" not in routes["fundus-photograph"]
    assert "flair: dicom-node models import flair_resnet.pth --as flair" in run("routes", "list")


def test_a_companion_file_is_used_where_the_supplement_has_none_and_a_missing_one_says_where_to_find_it(tmp_path: Path) -> None:
    fixture = write_fixture("flair", tmp_path / "flair")
    told = json.loads((fixture / "golden.json").read_text(encoding="utf-8"))
    request = ImportRequest(source=fixture / told["checkpoint"]["files"][0]["path"], name="flair", description=published_model("flair"))
    with pytest.raises(
        ImportRefusedError, match=r"vocab\.txt is missing.*take vocab\.txt of huggingface\.co/emilyalsentzer/Bio_ClinicalBERT"
    ):
        install(request, tmp_path / "site")


def test_a_model_under_free_terms_needs_no_acknowledgement() -> None:
    assert may_be_used(installed("keep"), ())
    assert not may_be_used(installed("plip"), ())
    assert may_be_used(installed("plip"), ("plip",))
