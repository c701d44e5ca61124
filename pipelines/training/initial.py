"""First weights for short trainings.

Published recipes have hundreds of thousands of steps to leave PyTorch's default weights; in hundreds of
steps, networks that begin there learn to add nothing to their base, or that nothing moves.
"""

from __future__ import annotations

import torch
from torch import nn

from models import Network
from models.parts.blocks import LEAK, ResidualBlockNoBN
from models.parts.cleaning import Cleaning
from models.parts.dap import IMDB
from models.parts.deform import GuidedDeformConv, ModulatedDeformConv
from models.parts.edvr import TSAFusion
from models.parts.rdg import DecodeLayer, EncodeLayer
from models.parts.rrdb import ResidualInResidual
from models.spynet import SPyNet

_LAST = 0.1
"""A flow network's last weights are scaled by this: the first flow is near zero, and gradients still pass."""

_CHANGE = 8.0
"""How much more a flow network's first layer minds the difference of two frames than their sum."""


@torch.no_grad()
def stay_near_the_base(network: Network) -> None:
    """First weights for a restoration network that adds the output of its `last` layer to enlarged frames.

    Features keep their variance from layer to layer (He et al., "Delving Deep into Rectifiers", ICCV
    2015, Eq. 15) up to the last layer, which is zero, so that the first output is the base: a random residue has
    to be unlearnt first, and networks in which a signal passes many layers unlearn their features with it. Samples
    of deformable convolutions, which weigh a half at first, count twice. What cleans frames begins with nothing to add. Residual blocks, dense ones, those of distillation and those that multiply features (RDG), attention over frames,
    the alignment of recurrent features, which would grow from frame to frame, and the flow network keep their own,
    as do layers that begin at zero, which are not to be seen at first. Of perceptrons, those have it whose last
    layer is the network's: their hidden layers.
    """
    own = (SPyNet, ResidualBlockNoBN, ResidualInResidual, IMDB, EncodeLayer, DecodeLayer, ModulatedDeformConv, TSAFusion)
    left = {id(layer) for block in network.modules() if isinstance(block, own) for layer in block.modules()}
    last = network.last
    assert isinstance(last, nn.Conv2d | nn.Conv3d | nn.Linear)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Conv3d) and layer is not last and id(layer) not in left and layer.weight.any():
            _he(layer, LEAK)
    for layer in network.modules():
        if isinstance(layer, TSAFusion):
            _he(layer.feat_fusion, LEAK)
        if isinstance(layer, GuidedDeformConv):
            nn.init.kaiming_normal_(layer.weight, a=LEAK)
            layer.weight.mul_(2)
    chain = next(
        (layer for layer in network.modules() if isinstance(layer, nn.Sequential) and layer[-1] is last), nn.Sequential()
    )
    for layer in list(chain)[1:-1]:
        if isinstance(layer, nn.Linear):
            _he(layer)
    for part in (last, *(module[-1] for module in network.modules() if isinstance(module, Cleaning))):
        for parameter in part.parameters():
            nn.init.zeros_(parameter)


@torch.no_grad()
def mind_changes(network: SPyNet) -> None:
    """First weights for a flow network.

    Neighbouring frames are nearly equal, and motion is in what differs: a first layer that weighs the
    two frames independently hardly sees it. Here each filter looks at their sum with one random kernel
    and, `_CHANGE` times as much, at their difference with another. The first flow is near zero.
    """
    for level in network.basic_module:
        first, *hidden, last = (layer for layer in level.modules() if isinstance(layer, nn.Conv2d))
        for layer in (first, *hidden):
            _he(layer)
        _he(last)
        last.weight.mul_(_LAST)
        both, change = first.weight[:, :3].clone(), first.weight[:, 3:6] * _CHANGE
        first.weight[:, :3] = (both + change) / 2**0.5
        first.weight[:, 3:6] = (both - change) / 2**0.5


def _he(layer: nn.Conv2d | nn.Conv3d | nn.Linear, leak: float = 0.0) -> None:
    nn.init.kaiming_normal_(layer.weight, a=leak)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
