"""The tables of the embedded model's card, measured again: `make card PACK=... DATA=...`.

PACK is the training pack (its val split is asked), DATA the development set. Figures are written into the card between its marks, and
the evaluation pages next to each other into the output folder.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
from numpy.typing import NDArray

from config import load
from inference.embedded.training.export import export_validation
from inference.embedded.training.pack import PackRow, read_pack
from inference.embedded.training.views import TRUE, UNKNOWN, View, make_view
from inference.embedded.training.words import CLAIMS, FINDINGS, KIND_NUMBER, KINDS_OF_IMAGE, WORDINGS, Wording, caption, claim_text
from inference.engine import Engine
from inference.findings import ImageRef
from inference.frames import Frame

MODEL = "gatekeeper"
LABELS = Path(__file__).parent / "labels" / "development-set.yaml"
_BLOCK = re.compile(r"(<!-- measured: (?P<name>[a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_DRAWS = 10
_DEGRADED = 700  # images of the val split, each with every fault in every strength
_FEWEST = 20


def main(pack: Path, data: Path, output: Path) -> None:
    _, catalogue = load(None)
    card = catalogue.weights_path(catalogue.manifest(MODEL)) / "README.md"
    table = export_validation(pack, output / "val")
    val = evaluated(table, output / "on-val")
    degraded = evaluated(table, output / "degraded", "--degrade", "--prompt-set", "image-quality", "--limit", str(_DEGRADED))
    development = evaluated(data / "MANIFEST.csv", output / "on-development-set", "--labels", str(LABELS), "--prompt-set", "kind-of-image")
    engine = Engine(catalogue, device="cpu", batch_size=16, cache_folder=None)
    blocks: Mapping[str, Callable[[], Iterator[str]]] = {
        "kinds": lambda: kinds_table(val, development),
        "faults": lambda: faults_table(degraded, val),
        "findings": lambda: findings_table(val),
        "paraphrases": lambda: paraphrases_table(engine, read_pack(pack, "val")),
        "speed": lambda: speed_table(engine),
    }
    text = card.read_text(encoding="utf-8")
    card.write_text(_BLOCK.sub(lambda found: found[1] + "\n".join(blocks[found["name"]]()) + "\n" + found[3], text), encoding="utf-8")


def evaluated(table: Path, output: Path, *options: str) -> Any:
    command = [str(Path(sys.executable).parent / "dicom-node"), "evaluate", "--model", MODEL, "--data", str(table)]
    subprocess.run([*command, "--output", str(output), *options], check=True)
    return json.loads((output / "evaluation.json").read_text(encoding="utf-8"))


def kinds_table(val: Any, development: Any) -> Iterator[str]:
    yield "| | images | macro accuracy (kinds with at least 20 images) | accuracy | macro accuracy of the baseline |"
    yield "|---|---:|---:|---:|---:|"
    for name, found in (("val split of the pack", val), ("development set (files, DICOM)", development)):
        gate = _prompt_set(found, "kind-of-image")
        choice = gate["choice"]
        figures = (choice["macro_accuracy"], choice["accuracy"], choice["baseline_macro_accuracy"])
        yield f"| {name} | {gate['images']} | " + " | ".join(_estimate(figure) for figure in figures) + " |"
    yield ""
    yield "| kind | val: images | recognised | AUROC | development set: images | recognised |"
    yield "|---|---:|---:|---:|---:|---:|"
    elsewhere = {concept["label"]: concept for concept in _prompt_set(development, "kind-of-image")["concepts"]}
    for concept in _prompt_set(val, "kind-of-image")["concepts"]:
        other = elsewhere.get(concept["label"])
        seen = f"{other['positives']} | {_estimate(other['model_accuracy'])}" if other and other["positives"] else "0 | "
        row = (str(concept["positives"]), _estimate(concept["model_accuracy"]), _estimate(concept["model_auroc"]), seen)
        yield f"| {concept['label']} | " + " | ".join(row) + " |"


def faults_table(degraded: Any, val: Any) -> Iterator[str]:
    study = degraded["degradation"]
    yield "| fault | images | AUROC, strength 0.25 | 0.5 (medium) | 1.0 | Spearman, means | threshold | found at medium | false alarms |"
    yield "|---|---:|---:|---:|---:|---:|---:|---:|---:|"
    for kind in study["kinds"]:
        at = {step["strength"]: step["auroc"] for step in kind["strengths"]}
        weak, strong = (_number(at.get(strength)) for strength in (0.25, 1.0))
        figures = (weak, _estimate(kind["medium"]), strong, _number(kind["rank_of_means"]), f"{kind['threshold']:.4g}")
        rates = (_estimate(kind["detected"]), _estimate(kind["false_alarms"]))
        yield f"| {kind['kind']} | {kind['images']} | " + " | ".join((*figures, *rates)) + " |"
    yield ""
    yield f"Any fault reported of a clean image: {_estimate(study['any_false_alarm'])} of {study['images']} images."
    yield ""
    yield "| rotated against upright | images | AUROC |"
    yield "|---|---:|---:|"
    for one in study["rotated"]:
        yield f"| {one['image_kind']} | {one['images']} | {_estimate(one['auroc'])} |"
    foreign = next(one for one in _prompt_set(val, "image-quality")["concepts"] if one["label"] == "not-a-medical-image")
    yield ""
    yield f"Not a medical image, against all medical images: AUROC {_estimate(foreign['model_auroc'])}"
    yield f"({foreign['positives']} of {foreign['images']} images), baseline {_estimate(foreign['baseline_auroc'])}."


def findings_table(val: Any) -> Iterator[str]:
    yield "| finding | source | images | with the finding | AUROC | AUROC of the baseline |"
    yield "|---|---|---:|---:|---:|---:|"
    names = {finding.name for finding in FINDINGS}
    for prompt_set in val["prompt_sets"]:
        for source in prompt_set["sources"]:
            if source["label"] in names and 0 < source["positives"] < source["images"]:
                figures = f"{_estimate(source['model_auroc'])} | {_estimate(source['baseline_auroc'])}"
                yield f"| {source['label']} | {source['source']} | {source['images']} | {source['positives']} | {figures} |"


def paraphrases_table(engine: Engine, rows: Sequence[PackRow]) -> Iterator[str]:
    """One random phrasing a kind (and two a fault), drawn ten times, in words and forms that were trained on and others."""
    rng = np.random.default_rng(0)
    views = [make_view(rows[row], rng) for row in rng.integers(len(rows), size=1500)]
    images = engine.embed(MODEL, [_frame(view.pixels) for view in views])
    yield "| texts | macro accuracy of the kind of image | mean AUROC of the faults |"
    yield "|---|---:|---:|"
    for wording in WORDINGS:
        kinds, faults = zip(*(_asked_once(engine, images, views, wording, rng) for _ in range(_DRAWS)), strict=True)
        yield f"| {wording} | {_mean_and_spread(kinds)} | {_mean_and_spread(faults)} |"


def _asked_once(
    engine: Engine, images: NDArray[np.float32], views: Sequence[View], wording: Wording, rng: np.random.Generator
) -> tuple[float, float]:
    encode = engine.adapter(MODEL).encode_texts
    chosen = (images @ encode([caption(kind, wording, rng) for kind in KINDS_OF_IMAGE]).numpy().T).argmax(axis=1)
    truth = np.array([view.kind for view in views])
    common = [KIND_NUMBER[kind.name] for kind in KINDS_OF_IMAGE if (truth == KIND_NUMBER[kind.name]).sum() >= _FEWEST]
    accuracy = float(np.mean([(chosen[truth == kind] == kind).mean() for kind in common]))
    pairs = encode([claim_text(claim, holds=holds, wording=wording, rng=rng) for claim in CLAIMS for holds in (True, False)]).numpy()
    scores, known = images @ (pairs[0::2] - pairs[1::2]).T, np.stack([view.claims for view in views])
    faults = [_auroc(scores[known[:, one] != UNKNOWN, one], known[known[:, one] != UNKNOWN, one] == TRUE) for one in range(len(CLAIMS))]
    return accuracy, float(np.mean(faults))


def speed_table(engine: Engine) -> Iterator[str]:
    torch.set_num_threads(2)
    pixels = np.random.default_rng(0).random((1024, 1024), dtype=np.float32)
    adapter = engine.adapter(MODEL)
    batch = torch.stack([adapter.preprocess(_frame(pixels))] * 16)
    forward = _milliseconds(lambda: adapter.encode_images(batch)) / len(batch)
    whole = _milliseconds(lambda: engine.embed(MODEL, [_frame(pixels)] * 16)) / 16
    yield "| milliseconds an image, batches of 16, two CPU cores | |"
    yield "|---|---:|"
    yield f"| image tower | {forward:.1f} |"
    yield f"| from a 1024 x 1024 frame (8 bit, resize, normalise, image tower) | {whole:.1f} |"


def _milliseconds(work: Callable[[], object]) -> float:
    work()
    rounds = []
    for _ in range(10):
        start = time.perf_counter()
        work()
        rounds.append(time.perf_counter() - start)
    return 1000 * float(np.median(rounds))


def _frame(pixels: NDArray[Any]) -> Frame:
    shown = pixels if pixels.dtype == np.float32 else np.asarray(pixels / np.float32(255), dtype=np.float32)
    ref = ImageRef(sop_class_uid="1.2.840.10008.5.1.4.1.1.7", sop_instance_uid="1.2.3")
    return Frame(pixels=shown, values=None, spacing_mm=None, ref=ref, modality="OT", photometric_interpretation="RGB", steps=())


def _auroc(scores: NDArray[Any], truth: NDArray[np.bool_]) -> float:
    ranks = np.empty(len(scores))
    ranks[np.argsort(scores)] = np.arange(len(scores))
    positives = int(truth.sum())
    return float((ranks[truth].sum() - positives * (positives - 1) / 2) / (positives * (len(truth) - positives)))


def _prompt_set(found: Any, name: str) -> Any:
    return next(one for one in found["prompt_sets"] if one["prompt_set"] == name)


def _estimate(estimate: Any) -> str:
    if estimate["value"] is None:
        return estimate["note"] or "-"
    limits = estimate["interval"]
    return f"{estimate['value']:.3f}" + (f" ({limits['low']:.3f}-{limits['high']:.3f})" if limits else "")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _mean_and_spread(values: Sequence[float]) -> str:
    return f"{np.mean(values):.3f} (draws: {min(values):.3f}-{max(values):.3f})"


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
