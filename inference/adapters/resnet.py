"""torchvision's ResNet of bottlenecks (ResNet-50 and its like) from tensors, which reveal all of it."""

from collections.abc import Mapping

import torch
from torch import nn
from torchvision.models.resnet import Bottleneck, ResNet

from inference.adapters.shapes import blocks

_FEATURES = 512 * Bottleneck.expansion


def resnet(tensors: Mapping[str, torch.Tensor], prefix: str) -> ResNet:
    """Return the network whose tensors have names that begin with `prefix`, not loaded yet.

    It gives features, or what its `fc` makes of them, if there is one.

    Raises:
        KeyError, ValueError: the tensors are no ResNet of bottlenecks.
    """
    inside = tensors[f"{prefix}layer1.0.conv1.weight"].shape[0]
    if f"{prefix}layer1.0.conv3.weight" not in tensors:
        raise ValueError(f"{prefix}layer1.0 is no bottleneck of three convolutions; only ResNet-50 and its like are known")
    layers = [blocks(tensors, f"{prefix}layer{stage}.") for stage in (1, 2, 3, 4)]
    network = ResNet(Bottleneck, layers, width_per_group=inside)
    last = tensors.get(f"{prefix}fc.weight")
    network.fc = nn.Identity() if last is None else nn.Linear(_FEATURES, last.shape[0], bias=False)  # type: ignore[assignment]  # declared a Linear
    return network
