"""Checkpoints of people who renamed torchvision's MobileNetV2, or were there before it.

The names are those of the repositories as of 2024: tonylins/pytorch-mobilenet-v2,
d-li14/mobilenetv2.pytorch, qfgaohao/pytorch-ssd, VainF/DeepLabV3Plus-Pytorch and
jfzhang95/pytorch-deeplab-xception, whose networks are torchvision's in other containers.
"""

import pytest
import torch
import torchvision
from helpers.networks import images, randomise
from original_networks import torch_taps
from torch import nn

from mbv2_backbone import MobileNetV2Backbone
from mbv2_backbone.arch import TAP_NAMES, build_architecture
from mbv2_backbone.weights import convert, load_into
from mbv2_backbone.weights.layouts import torchvision_names
from mbv2_backbone.weights.layouts.schema import tensor_shapes


def network(*, is_flat=False):
    """Return torchvision's network, with the modules of each block in one list if it is flat."""
    model = randomise(torchvision.models.mobilenet_v2(width_mult=0.35))
    for block in model.features if is_flat else ():
        if hasattr(block, 'conv'):
            leaves = [m for m in block.conv.modules() if not list(m.children())]
            block.conv = nn.Sequential(*leaves)
    return model


def tonylins():
    return network(is_flat=True).state_dict()


def d_li14():
    model = network(is_flat=True)
    model.conv, model.features = model.features[18], model.features[:18]
    return {f'module.{name}': tensor for name, tensor in model.state_dict().items()}


def qfgaohao():
    model = nn.ModuleDict(dict(base_net=network(is_flat=True).features, extras=nn.Linear(2, 2)))
    return model.state_dict()


def in_two(*, is_flat):
    backbone = network(is_flat=is_flat)
    backbone.low_level_features = backbone.features[:4]
    backbone.high_level_features = backbone.features[4:-1]
    return nn.ModuleDict(dict(backbone=backbone, classifier=nn.Linear(2, 2)))


def vainf():
    model = in_two(is_flat=False)
    model.backbone.features = None
    return dict(cur_itrs=30000, model_state=model.state_dict(), best_score=0.7)


def jfzhang95():
    """Return one that keeps the list beside its two parts, which are the same tensors."""
    return dict(epoch=3, state_dict=in_two(is_flat=True).state_dict(), best_pred=0.6)


def two_parts_alone():
    model = in_two(is_flat=True)
    model.backbone.features = None
    return model.state_dict()


def faster_rcnn():
    """Return torchvision's tutorial: `FasterRCNN(mobilenet_v2().features, …)`."""
    return nn.ModuleDict(dict(backbone=network().features, roi=nn.Linear(2, 2))).state_dict()


def flat_backbone():
    return nn.ModuleDict(dict(body=network(is_flat=True).features)).state_dict()


CASES = {
    tonylins: ('features, flat', '', 312),
    d_li14: ('features, flat', 'module.', 312),
    qfgaohao: ('base_net, flat', '', 312),
    vainf: ('low and high level', 'backbone.', 306),
    jfzhang95: ('features, flat', 'backbone.', 312),
    two_parts_alone: ('low and high level, flat', 'backbone.', 306),
    faster_rcnn: ('list', 'backbone.', 312),
    flat_backbone: ('list, flat', 'body.', 312),
}


@pytest.mark.parametrize('of', CASES, ids=lambda of: of.__name__)
def test_they_give_the_numbers_of_torchvisions_network(of, tmp_path):
    layout, prefix, number = CASES[of]
    torch.save(of(), tmp_path / 'theirs.pth')
    taps = TAP_NAMES if number == 312 else TAP_NAMES[:-1]
    backbone = MobileNetV2Backbone(widen_factor=0.35, out_indices=taps)

    report = load_into(backbone, tmp_path / 'theirs.pth')

    assert (report.layout, report.prefix, report.filled) == (layout, prefix, number)
    x = images(2, 3, 64, 64)
    wanted = torch_taps(torchvision_names.LAYOUT, network(), x)
    with torch.no_grad():
        for tap, feature in zip(taps, backbone.eval()(x), strict=True):
            torch.testing.assert_close(feature, wanted[tap], rtol=1e-5, atol=1e-5)


def test_pytorch_ssd_says_what_input_it_had():
    # qfgaohao/pytorch-ssd, vision/ssd/config/mobilenetv1_ssd_config.py: image_mean 127, std 128.
    _, report = convert(qfgaohao())
    assert report.origin.preprocessing.mean == (127, 127, 127)
    assert report.origin.preprocessing.std == (128, 128, 128)


def test_channels_in_multiples_of_4_are_those_of_d_li14s_smallest():
    # mobilenetv2.pytorch rounds channels to multiples of 4 at width 0.1, and to 8 elsewhere.
    shapes = tensor_shapes(build_architecture(0.1, round_to=4))
    _, report = convert({name: torch.ones(shape) for name, shape in shapes.items()})
    assert (report.widen_factor, report.round_to) == (0.1, 4)


@pytest.mark.parametrize('name', ['mobilenet_v3_large', 'mnasnet1_0', 'shufflenet_v2_x1_0'])
def test_lists_of_other_networks_are_not_taken_for_it(name):
    with torch.device('meta'):
        model = getattr(torchvision.models, name)()
    state_dict = {f'base.{n}': t for n, t in model.state_dict().items()}
    for names in (state_dict, {n.replace('features.', ''): t for n, t in state_dict.items()}):
        with pytest.raises(ValueError, match='no MobileNetV2 of a known layout'):
            convert(names)
