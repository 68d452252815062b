"""Prepared convolutions give the numbers of torch's own, and follow their weights."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import nn

from swaplib.networks import winograd
from swaplib.networks.convolution import Conv2d, Sequential


def close(found: torch.Tensor, wanted: torch.Tensor) -> None:
    torch.testing.assert_close(found, wanted, atol=3e-5 * float(wanted.abs().max()), rtol=0)


def normed(outputs: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(outputs)
    for tensor, low, high in ((norm.weight, 0.5, 1.5), (norm.bias, -1, 1), (norm.running_mean, -1, 1)):
        nn.init.uniform_(tensor, low, high)
    nn.init.uniform_(norm.running_var, 0.5, 1.5)
    return norm


def plain(network: Sequential, x: torch.Tensor) -> torch.Tensor:
    for layer in network:
        x = nn.Conv2d.forward(layer, x) if isinstance(layer, Conv2d) else layer(x)
    return x


@torch.no_grad()
@pytest.mark.parametrize("strip", [1 << 19, 300, 3000])
@pytest.mark.parametrize("shape", [(1, 3, 5, 7, 9, 1), (2, 8, 4, 16, 13, 0), (3, 4, 4, 5, 40, 1), (2, 6, 6, 34, 34, 0)])
def test_maps_of_any_size_are_convolved_in_strips(shape, strip, monkeypatch):
    monkeypatch.setattr(winograd, "_STRIP", strip)
    batch, inputs, outputs, height, width, padding = shape
    x, weight = torch.randn(batch, inputs, height, width), torch.randn(outputs, inputs, 3, 3)
    bias = torch.randn(outputs)
    found = winograd.conv2d(x, winograd.transformed(weight), bias, padding)
    close(found, nn.functional.conv2d(x, weight, bias, padding=padding))


@torch.no_grad()
@pytest.mark.parametrize(
    "arguments",
    [(64, 128, 3, 1, 1), (64, 128, 3), (64, 64, 3, 1, 1), (64, 128, 3, 2, 1), (3, 64, 7, 2, 3), (128, 128, 1)],
)
@pytest.mark.parametrize("bias", [True, False])
def test_a_normalisation_is_folded_in(arguments, bias):
    torch.manual_seed(0)
    x, layer = torch.randn(2, arguments[0], 14, 15), Conv2d(*arguments, bias=bias)
    network = Sequential(layer, normed(arguments[1]), nn.ReLU(), nn.Identity()).eval()
    close(network(x), plain(network, x))
    close(layer(x), nn.Conv2d.forward(layer, x))


@torch.no_grad()
def test_prepared_weights_follow_the_layers_and_stay_behind():
    torch.manual_seed(0)
    x, network = torch.randn(1, 64, 16, 16), Sequential(Conv2d(64, 128, 3, 1, 1), normed(128)).eval()
    network(x)
    for changed in (network[0].weight, network[0].bias, network[1].running_var, network[1].weight):
        changed.mul_(1.5)
        close(network(x), plain(network, x))
    copied = deepcopy(network)
    assert network[0]._prepared
    assert not copied[0]._prepared
    assert torch.equal(copied(x), network(x))
    assert set(network.state_dict()) == set(nn.Sequential(nn.Conv2d(64, 128, 3), nn.BatchNorm2d(128)).state_dict())


def test_learning_is_torchs_own():
    torch.manual_seed(0)
    x, network = torch.randn(2, 64, 16, 16), Sequential(Conv2d(64, 128, 3, 1, 1), normed(128))
    for mode in (True, False):
        network.train(mode)
        assert torch.equal(network(x), plain(network, x).detach()) or mode
    network.eval()
    found = network(x)
    assert torch.equal(found, plain(network, x))
    assert found.requires_grad
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(network(x), plain(network, x))
    assert not network[0]._prepared
