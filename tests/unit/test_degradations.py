"""Faults made on purpose: what they do to an image, and that a strength means the same everywhere."""

import numpy as np
import pytest
from numpy.typing import NDArray

from inference.damage.degradations import KINDS, WITHOUT_STRENGTH, Kind, applies, degrade
from tests.embedded import chest

GRADED = [kind for kind in KINDS if kind not in WITHOUT_STRENGTH]


def damage(pixels: NDArray[np.float32], kind: Kind, strength: float, modality: str = "DX") -> float:
    """How far a degraded image is from the original, averaged over ten draws; what was cropped counts as share of the area."""
    changes = []
    for seed in range(10):
        made = degrade(pixels, kind, strength, np.random.default_rng(seed), modality=modality)
        changes.append(1 - made.size / pixels.size if made.shape != pixels.shape else float(np.abs(made - pixels).mean()))
    return float(np.mean(changes))


@pytest.mark.parametrize("kind", GRADED)
def test_more_strength_is_more_damage(kind: Kind) -> None:
    weak, medium, gross = (damage(chest(), kind, strength) for strength in (0.1, 0.5, 1.0))
    assert 0 < weak < medium < gross


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("modality", ["DX", "CT", "MR", "US", "PT", "XC"])
def test_every_fault_gives_a_picture_that_can_be_shown(kind: Kind, modality: str) -> None:
    for pixels in (chest(), np.stack([chest()] * 3, axis=-1)):
        made = degrade(pixels, kind, 1.0, np.random.default_rng(0), modality=modality)
        assert made.dtype == np.float32
        assert made.ndim == pixels.ndim
        assert made.min() >= 0
        assert made.max() <= 1


def test_a_quarter_turn_clockwise_puts_the_top_row_on_the_right() -> None:
    pixels = np.arange(6, dtype=np.float32).reshape(2, 3) / 10
    made = degrade(pixels, "rotated-90", 1, np.random.default_rng(0), modality="DX")
    assert np.array_equal(made[:, -1], pixels[0])


def test_inverting_twice_gives_the_image_back() -> None:
    rng = np.random.default_rng(0)
    twice = degrade(degrade(chest(), "inverted", 1, rng, modality="DX"), "inverted", 1, rng, modality="DX")
    assert twice == pytest.approx(chest(), abs=1e-6)


def test_noise_of_one_strength_looks_the_same_in_a_larger_matrix() -> None:
    grey = np.full((160, 160), 0.5, dtype=np.float32)
    seen = []
    for pixels in (grey, np.kron(grey, np.ones((8, 8), dtype=np.float32))):
        noisy = degrade(pixels, "noisy", 0.5, np.random.default_rng(0), modality="CT")
        factor = len(noisy) // 160
        seen.append(noisy.reshape(160, factor, 160, factor).mean((1, 3)).std())
    assert seen[1] == pytest.approx(seen[0], rel=0.3)


def test_too_little_exposure_makes_a_radiograph_pale_and_a_photograph_dark() -> None:
    rng = np.random.default_rng(0)
    assert degrade(chest(), "under-exposed", 0.5, rng, modality="DX").mean() > chest().mean()
    assert degrade(chest(), "under-exposed", 0.5, rng, modality="XC").mean() < chest().mean()


def test_a_radiograph_is_noisier_where_fewer_photons_arrive() -> None:
    halves = np.full((64, 128), 0.3, dtype=np.float32)
    halves[:, 64:] = 0.7
    noise = degrade(halves, "noisy", 0.3, np.random.default_rng(0), modality="DX") - halves
    assert noise[:, 64:].std() > 1.3 * noise[:, :64].std()


def test_the_same_seed_gives_the_same_fault() -> None:
    one, other = (degrade(chest(), "burnt-in-text", 0.5, np.random.default_rng(7), modality="DX") for _ in range(2))
    assert np.array_equal(one, other)


@pytest.mark.parametrize("strength", [0, -0.1, 1.1, float("nan")])
def test_a_strength_outside_its_range_is_refused(strength: float) -> None:
    with pytest.raises(ValueError, match="strength"):
        degrade(chest(), "blurred", strength, np.random.default_rng(0), modality="DX")


def test_what_cannot_be_decided_is_not_asked() -> None:
    assert applies("upside-down", "chest-radiograph")
    assert not applies("upside-down", "blood-smear")
    assert not applies("inverted", "pet")
    assert not applies("burnt-in-text", "colonoscopy-image")
    assert not any(applies(kind, "document") for kind in KINDS)
