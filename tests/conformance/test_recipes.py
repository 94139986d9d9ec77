"""The scores of a prompt set are those that the publishers' code gives: texts, ensemble, temperature, heads and views together."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from config.heads import ANY_IMAGE
from config.prompt_sets import PromptSet
from inference.adapters import Head
from inference.findings import ImageRef
from inference.golden import read_golden
from inference.golden.folder import Golden, fixtures_in
from inference.importing.install import fixture_adapter
from inference.prompts import Group, PromptEmbeddings, embed_prompts, group_of
from inference.scoring import score_images
from tests.golden_fixtures import write_fixture

SHARED = os.environ.get("DICOM_NODE_SHARED")
OF_CLASSES = ("flair", "unimed-clip")  # their reference outputs have no vectors of single texts, so that the model must run
OF_TEXTS = ("openai-vit", "chexzero", "siglip", "medclip", "keep", "ret-clip")

Numbers = NDArray[np.float64]
Encode = Callable[[str, Sequence[str]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One prompt set, the views that it is asked of, and the scores `(images or pairs, labels)` that the reference outputs give."""

    prompt_set: PromptSet
    expected: Numbers
    views: tuple[str, ...] = ANY_IMAGE


def shared_fixtures() -> list[Path]:
    if SHARED is None:
        return []
    root = Path(SHARED) / "golden"
    sets = [root, *(index.parent for index in sorted(root.glob("*/index.json")))]
    return [fixture for folder in sets if (folder / "index.json").is_file() for fixture in fixtures_in(folder)]


@pytest.mark.parametrize("kind", OF_TEXTS)
def test_reference_vectors_score_as_the_reference_does(kind: str, tmp_path: Path) -> None:
    by_reference_vectors(write_fixture(kind, tmp_path / kind))


@pytest.mark.parametrize("kind", OF_CLASSES)
def test_our_small_models_score_classes_as_their_reference_outputs_say(kind: str, tmp_path: Path) -> None:
    by_model(write_fixture(kind, tmp_path / kind), tmp_path)


@pytest.mark.skipif(SHARED is None, reason="reference outputs of the publishers' code are not here; set DICOM_NODE_SHARED")
@pytest.mark.parametrize("fixture", shared_fixtures(), ids=lambda fixture: f"{fixture.parent.name}-{fixture.name}")
def test_a_published_recipe_scores_as_its_publishers_code_does(fixture: Path, tmp_path: Path) -> None:
    if "class_embeddings" in read_golden(fixture).expected:
        by_model(fixture, tmp_path)
    else:
        by_reference_vectors(fixture)


def by_reference_vectors(fixture: Path) -> None:
    """Compare what the recipes make of the vectors in the folder, without any model."""
    golden = read_golden(fixture)
    texts = [*golden.texts, *(text for group in golden.classes.values() for text in group)]
    vectors = {head: np.concatenate([rows, *_of_classes(golden)]) for head, (_, rows) in _reference_rows(golden).items()}

    def encode(head: str, asked: Sequence[str]) -> NDArray[np.float32]:
        return vectors[head][[texts.index(text) for text in asked]]

    compare(golden, _reference_heads(golden), encode, rows=np.zeros((len(golden.images), 1), dtype=np.float32), group="any")


def by_model(fixture: Path, folder: Path) -> None:
    """Compare what the model, imported into `folder`, answers."""
    golden = read_golden(fixture)
    adapter = fixture_adapter(golden, folder, "cpu")
    rows = adapter.encode_images(torch.stack([adapter.preprocess(frame) for frame in golden.frames()])).numpy()

    def encode(_: str, asked: Sequence[str]) -> NDArray[np.float32]:
        vectors: NDArray[np.float32] = adapter.encode_texts(asked).numpy()
        return vectors

    compare(golden, adapter.heads, encode, rows=rows, group=group_of(adapter.manifest.tokenizer))


def compare(golden: Golden, heads: Sequence[Head], encode: Encode, *, rows: NDArray[np.float32], group: Group) -> None:
    found = list(cases(golden))
    assert found
    for case in found:

        def prompts(head: str, asked: PromptSet = case.prompt_set) -> PromptEmbeddings:
            return embed_prompts(asked, lambda texts: encode(head, texts), batch_size=64, group=group)

        order = [pair[view] for pair in golden.pairs for view in case.views] if golden.pairs else list(range(len(rows)))
        images = [ImageRef(sop_class_uid="1.2", sop_instance_uid=f"2.25.{number}", frame_number=1) for number in order]
        answers = score_images(heads, case.prompt_set, prompts, rows[order], images, views=case.views)
        scores = np.array([[score.value for score in answer] for answer in answers])
        tolerance = golden.tolerances["probabilities_max_abs"]
        np.testing.assert_allclose(scores, case.expected, rtol=0, atol=tolerance, err_msg=case.prompt_set.name)
        assert [answer[0].image for answer in answers] == images[:: len(case.views)]


def _reference_rows(golden: Golden) -> dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Vectors of images (or pairs) and texts of each head."""
    arrays = golden.expected
    names = [name.removeprefix("image_embeddings_") for name in arrays if name.startswith("image_embeddings_") and golden.pairs]
    if names:
        return {name: (arrays[f"image_embeddings_{name}"], arrays[f"text_embeddings_{name}"]) for name in names}
    images, texts = arrays["image_embeddings"], arrays["text_embeddings"]
    if images.ndim == len(("images", "dimensions")):
        return {"image": (images, texts)}
    return {f"checkpoint-{number}": rows for number, rows in enumerate(zip(images, texts, strict=True), start=1)}


def _of_classes(golden: Golden) -> list[NDArray[np.float32]]:
    return [golden.expected["prompt_text_embeddings"]] if "prompt_text_embeddings" in golden.expected else []


def _reference_heads(golden: Golden) -> tuple[Head, ...]:
    def head(name: str, rows: NDArray[np.float32]) -> Head:
        views = ("left", "right") if name == "patient" else (name,) if golden.pairs else ANY_IMAGE
        scale, bias = _scale(golden, name)
        return Head(
            name=name,
            logit_scale=scale,
            logit_bias=bias,
            views=views,
            images=lambda *_: torch.from_numpy(rows),
            texts=lambda texts: texts,
        )

    return tuple(head(name, images) for name, (images, _) in _reference_rows(golden).items())


def _scale(golden: Golden, head: str) -> tuple[float, float]:
    """Factor and bias that turn the reference cosines into the reference logits; 1 and 0 where no logits are given."""
    arrays = golden.expected
    rows, texts = _reference_rows(golden)[head]
    logits = arrays.get(f"logits_{head}", arrays.get("logits"))
    if logits is None:
        return 1.0, 0.0
    scale, bias = np.polyfit((rows.astype(float) @ texts.T.astype(float)).ravel(), logits.astype(float).ravel(), 1)
    return float(scale), float(bias) if golden.scoring["kind"] == "sigmoid" else 0.0


def cases(golden: Golden) -> Iterator[Case]:
    """What the folder's reference outputs say about recipes, each as a prompt set of this node."""
    yield from _CASES[golden.scoring["kind"]](golden)


def _softmax_cases(golden: Golden) -> Iterator[Case]:
    arrays = golden.expected
    if "class_logits" in arrays and "class_probabilities" not in arrays:  # FLAIR: texts of one class are padded together
        template = golden.scoring["caption"].replace("[CLS]", "{}")
        asked = asked_of_classes(golden, "multi-class-softmax", ensemble="scores", templates=[template])
        yield Case(prompt_set=asked, expected=softmax(arrays["class_logits"]))
        return
    texts = list(golden.texts)
    logits = arrays["logits"].astype(np.float64)
    yield Case(prompt_set=asked_of(golden, "multi-class-softmax", {text: [text] for text in texts}), expected=arrays["probabilities"])
    if "class_probabilities" in arrays:
        yield Case(prompt_set=asked_of_classes(golden, "multi-class-softmax"), expected=arrays["class_probabilities"])
    concepts = asked_of(golden, "concept-mean", {"a": texts[:2], "b": texts[2:]})
    yield Case(prompt_set=concepts, expected=softmax(np.stack([logits[:, :2].mean(1), logits[:, 2:].mean(1)], axis=1)))
    against = asked_of(golden, "target-versus-reference", {"a": texts[:2]}, reference=texts[2:])
    target = logits[:, :2].mean(1)
    yield Case(prompt_set=against, expected=1 / (1 + np.exp(logits[:, 2:] - target[:, None]).sum(1, keepdims=True)))


def _paired_cases(golden: Golden) -> Iterator[Case]:
    asked = asked_of(golden, "pair-softmax", {label: [label] for label in golden.labels}, temperature="none")
    pairs = [label.model_copy(update={"negative": (f"no {label.positive[0]}",)}) for label in asked.labels]
    yield Case(prompt_set=asked.model_copy(update={"labels": tuple(pairs)}), expected=golden.expected["probabilities"])


def _sigmoid_cases(golden: Golden) -> Iterator[Case]:
    yield Case(prompt_set=asked_of(golden, "sigmoid", {text: [text] for text in golden.texts}), expected=golden.expected["probabilities"])


def _cosine_cases(golden: Golden) -> Iterator[Case]:
    asked = asked_of(golden, "multi-class-softmax", {text: [text] for text in golden.texts}, temperature="none")
    yield Case(prompt_set=asked, expected=softmax(golden.expected["cosine"]))


def _prompt_classifier_cases(golden: Golden) -> Iterator[Case]:
    for ensemble, array in (("scores", "class_logits_mean"), ("highest", "class_logits_max")):
        asked = asked_of_classes(golden, "multi-class-softmax", ensemble=ensemble)
        yield Case(prompt_set=asked, expected=softmax(golden.expected[array]))


def _cases_of_eyes(golden: Golden) -> Iterator[Case]:
    for head, views in (("patient", ("left", "right")), ("left", ("left",)), ("right", ("right",))):
        asked = asked_of(golden, "multi-class-softmax", {text: [text] for text in golden.texts}, head=head)
        yield Case(prompt_set=asked, expected=softmax(golden.expected[f"logits_{head}"]), views=views)


_CASES: dict[str, Callable[[Golden], Iterator[Case]]] = {
    "softmax": _softmax_cases,
    "paired_softmax_ensemble": _paired_cases,
    "sigmoid": _sigmoid_cases,
    "cosine": _cosine_cases,
    "scaled_cosine": _prompt_classifier_cases,
    "cosine_scaled_three_heads": _cases_of_eyes,
}


def asked_of_classes(golden: Golden, recipe: str, **settings: object) -> PromptSet:
    return asked_of(golden, recipe, {name: list(texts) for name, texts in golden.classes.items()}, **settings)


def asked_of(golden: Golden, recipe: str, texts: dict[str, list[str]], **settings: object) -> PromptSet:
    code = {"value": "1", "scheme": "99TEST", "meaning": "label"}
    negative = ["-"] if recipe == "pair-softmax" else []
    labels = [
        {"name": f"label-{number}", "concept": code, "positive": positive, "negative": negative}
        for number, positive in enumerate(texts.values())
    ]
    facts: dict[str, object] = {"name": f"{recipe}-of-test", "version": 1, "recipe": recipe, "temperature": "model", "labels": labels}
    return PromptSet.model_validate(facts | settings)


def softmax(logits: NDArray[np.float32]) -> Numbers:
    shares = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)
