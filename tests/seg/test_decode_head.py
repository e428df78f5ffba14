"""The segmentation heads against mmseg's and torchvision's layers, and the papers."""

import copy
import warnings

import pytest
import torch
from helpers.networks import images, num_params, randomise
from mmcv.cnn import ConvModule
from mmengine.analysis import get_model_complexity_info
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.models import ASPPHead, DepthwiseSeparableASPPHead
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch.nn import functional as F
from torchvision.models.segmentation.lraspp import LRASPPHead

from mbv2_backbone.seg import DeepLabV3Head, DeepLabV3PlusHead, MobileLRASPPHead
from mbv2_backbone.seg.decode_head import scale_dilations
from mbv2_backbone.seg.deeplabv3 import ImagePooling

BN = dict(type='BN')


def segmentor(head, *, taps=('layer7',), output_stride=16, widen_factor=1.0):
    init_default_scope('mmseg')
    backbone = dict(
        type='MobileNetV2Backbone',
        out_indices=taps,
        output_stride=output_stride,
        widen_factor=widen_factor,
    )
    return MODELS.build(
        dict(
            type='EncoderDecoder',
            backbone=backbone,
            decode_head=head,
            test_cfg=ConfigDict(mode='whole'),
        )
    )


def madds(model, size):
    model = copy.deepcopy(model).eval()
    model.forward = model._forward
    shape = (3, size, size)
    return get_model_complexity_info(model, shape, show_table=False, show_arch=False)['flops']


def samples(batch_size, size, num_classes=21, seed=0):
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(batch_size):
        labels = torch.randint(num_classes, (1, size, size), generator=generator)
        labels[:, :3] = 255
        sample = SegDataSample(metainfo=dict(img_shape=(size, size), ori_shape=(size, size)))
        sample.gt_sem_seg = PixelData(data=labels)
        found.append(sample)
    return found


def renamed(mmsegs_head):
    state_dict = mmsegs_head.state_dict()
    return {k.replace('image_pool.1', 'image_pool.conv'): v for k, v in state_dict.items()}


# Rows 1 and 2: MobileNetV2 paper, table 7 (2.11 M, 2.75 B; 4.52 M, 5.8 B), by mmengine's count.
TABLE = {
    'paper': (dict(type='DeepLabV3Head'), ('layer7',), 2_113_557, '2.69', '2.83'),
    'aspp': (
        dict(type='DeepLabV3Head', dilations=(6, 12, 18)), ('layer7',), 4_523_541, '5.15', '5.45',
    ),
    'separable aspp': (
        dict(type='DeepLabV3Head', dilations=(6, 12, 18), separable=True),
        ('layer7',), 2_568_021, '3.15', '3.32',
    ),
    'plus': (
        dict(type='DeepLabV3PlusHead', in_index=1), ('layer2', 'layer7'),
        2_719_813, '5.74', '5.95',
    ),
    'lraspp': (dict(type='MobileLRASPPHead'), ('layer3', 'layer7'), 1_897_290, '2.52', '2.65'),
}  # fmt: skip


@pytest.mark.parametrize('row', TABLE)
def test_parameters_and_multiply_adds_equal_the_table(row):
    head, taps, params, at_512, at_513 = TABLE[row]
    model = segmentor(head, taps=taps)
    assert num_params(model) == params
    assert f'{madds(model, 512) / 1e9:.2f}' == at_512
    assert f'{madds(model, 513) / 1e9:.2f}' == at_513


def test_output_stride_8_has_the_same_parameters():
    assert (
        num_params(segmentor(dict(type='DeepLabV3Head', output_stride=8), output_stride=8))
        == 2113557
    )


@pytest.mark.parametrize('separable', [False, True])
@pytest.mark.parametrize('batch_size', [2, 3])
@pytest.mark.parametrize('is_training', [False, True])
def test_deeplabv3_is_mmsegs_aspp_with_a_1x1_projection(separable, batch_size, is_training):
    kwargs = dict(in_channels=12, channels=8, num_classes=5)
    ours = DeepLabV3Head(dilations=(2, 4), separable=separable, dropout_ratio=0, **kwargs)
    kwargs |= dict(dilations=(1, 2, 4), norm_cfg=BN, align_corners=True, dropout_ratio=0)
    if separable:
        theirs = DepthwiseSeparableASPPHead(c1_in_channels=0, c1_channels=0, **kwargs)
        del theirs.sep_bottleneck
        theirs.forward = lambda x: ASPPHead.forward(theirs, x)
    else:
        theirs = ASPPHead(**kwargs)
    theirs.bottleneck = ConvModule(32, 8, 1, norm_cfg=BN)
    randomise(theirs)
    state = {
        k.replace('image_pool.1', 'image_pool.conv'): v for k, v in theirs.state_dict().items()
    }
    ours.load_state_dict(state)
    ours.train(is_training), theirs.train(is_training)
    x = images(batch_size, 12, 7, 9).requires_grad_()
    y = x.detach().clone().requires_grad_()
    a, b = ours((x,)), theirs((y,))
    torch.testing.assert_close(a, b)
    weight = images(*a.shape, seed=2)
    (a * weight).sum().backward(), (b * weight).sum().backward()
    torch.testing.assert_close(x.grad, y.grad)


def test_deeplabv3plus_is_mmsegs_decoder_with_a_1x1_projection():
    kwargs = dict(in_channels=12, in_index=1, channels=8, num_classes=5, dropout_ratio=0)
    ours = DeepLabV3PlusHead(fine_in_channels=6, fine_channels=4, dilations=(2,), **kwargs)
    theirs = DepthwiseSeparableASPPHead(
        c1_in_channels=6, c1_channels=4, dilations=(1, 2), norm_cfg=BN, align_corners=True, **kwargs
    )
    theirs.bottleneck = ConvModule(24, 8, 1, norm_cfg=BN)
    randomise(theirs)
    state = {
        k.replace('image_pool.1', 'image_pool.conv'): v for k, v in theirs.state_dict().items()
    }
    ours.load_state_dict(state)
    maps = (images(2, 6, 20, 28), images(2, 12, 5, 7, seed=3))
    torch.testing.assert_close(ours(maps), theirs(maps))
    assert ours(maps).shape == (2, 5, 20, 28)


def test_lraspp_is_torchvisions():
    theirs = randomise(LRASPPHead(6, 12, 5, 8)).eval()
    ours = MobileLRASPPHead(
        in_channels=(6, 12), channels=8, num_classes=5, align_corners=False
    ).eval()
    names = {
        'cbr.0.': 'branch.conv.', 'cbr.1.': 'branch.bn.', 'scale.1.': 'gate.',
        'low_classifier.': 'fine_seg.', 'high_classifier.': 'conv_seg.',
    }  # fmt: skip
    state = {}
    for key, value in theirs.state_dict().items():
        old = next(name for name in names if key.startswith(name))
        state[key.replace(old, names[old])] = value
    ours.load_state_dict(state)
    maps = (images(2, 6, 10, 14), images(2, 12, 5, 7, seed=3))
    torch.testing.assert_close(ours(maps), theirs(dict(low=maps[0], high=maps[1])))


@pytest.mark.parametrize(
    ('dilations', 'output_stride', 'expected'),
    [
        ((), 8, ()),
        ((6, 12, 18), 16, (6, 12, 18)),
        ((6, 12, 18), 8, (12, 24, 36)),
        ([6, 12, 18], 32, (3, 6, 9)),
    ],
)
def test_rates_follow_the_output_stride(dilations, output_stride, expected):
    assert scale_dilations(dilations, output_stride) == expected


@pytest.mark.parametrize(
    ('dilations', 'output_stride', 'message'),
    [((3,), 32, 'no whole rate'), ((0,), 16, 'got|gives'), ((6.5,), 16, '6.5'), ((6,), 4, 'got 4')],
)
def test_impossible_rates_are_refused(dilations, output_stride, message):
    with pytest.raises(ValueError, match=message):
        scale_dilations(dilations, output_stride)


def test_output_stride_8_is_the_same_network_on_a_finer_grid():
    """Every second cell of each atrous branch at stride 8 is that branch at stride 16."""
    coarse, fine = (
        segmentor(
            dict(
                type='DeepLabV3Head', in_channels=80, channels=8, dilations=(2, 4), output_stride=s
            ),
            output_stride=s,
            widen_factor=0.25,
        ).eval()
        for s in (16, 8)
    )
    fine.load_state_dict(randomise(coarse).state_dict())
    x = images(2, 3, 97, 129)
    with torch.no_grad():
        (at_16,), (at_8,) = coarse.backbone(x), fine.backbone(x)
        for a, b in zip(
            coarse.decode_head.aspp_modules(at_16), fine.decode_head.aspp_modules(at_8), strict=True
        ):
            torch.testing.assert_close(a, b[..., ::2, ::2], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('name', ['DeepLabV3Head', 'MobileLRASPPHead', 'DeepLabV3PlusHead'])
def test_another_output_stride_than_the_backbones_is_refused(name):
    taps = dict(DeepLabV3Head=('layer7',)).get(name, ('layer3', 'layer7'))
    head = dict(type=name, channels=8)
    if name == 'DeepLabV3PlusHead':
        head |= dict(in_index=1, fine_in_channels=32)
    model = segmentor(head, taps=taps, output_stride=8)
    data = samples(2, 65)
    with pytest.raises(ValueError, match=r'expects a feature map of \(5, 5\).*got \(9, 9\)'):
        model.loss(images(2, 3, 65, 65), data)
    with pytest.raises(ValueError, match=r'model\.decode_head\.output_stride=8'):
        model.eval().predict(images(2, 3, 65, 65), data)
    matching = segmentor(head, taps=taps, output_stride=16)
    assert matching.loss(images(2, 3, 65, 65), data)


def test_windows_and_padding_pass_the_stride_check():
    model = segmentor(dict(type='DeepLabV3Head', channels=8)).eval()
    model.test_cfg = ConfigDict(mode='slide', crop_size=(65, 65), stride=(40, 40))
    data = samples(1, 97)
    with torch.no_grad():
        found = model.predict(images(1, 3, 97, 97), data)
    assert found[0].pred_sem_seg.shape == (97, 97)
    model.test_cfg = ConfigDict(mode='whole')
    data = samples(1, 80)
    data[0].set_metainfo(dict(pad_shape=torch.Size((97, 97)), img_padding_size=(0, 17, 0, 17)))
    with torch.no_grad():
        found = model.predict(images(1, 3, 97, 97), data)
    assert found[0].pred_sem_seg.shape == (80, 80)


def test_a_batch_of_one_trains_and_keeps_the_running_statistics():
    model = segmentor(dict(type='DeepLabV3Head', channels=8, dropout_ratio=0)).train()
    norm = model.decode_head.image_pool.conv.norm
    norm.running_mean.normal_(), norm.running_var.uniform_(0.5, 2)
    before = copy.deepcopy(norm.state_dict())
    losses = model.loss(images(1, 3, 65, 65), samples(1, 65))
    losses['decode.loss_ce'].backward()
    assert norm.training
    assert all(torch.equal(value, before[key]) for key, value in norm.state_dict().items())
    gradient = model.decode_head.image_pool.conv.conv.weight.grad
    assert gradient is not None
    assert gradient.abs().sum() > 0


def test_image_pooling_of_a_batch_equals_the_plain_computation():
    pool = randomise(ImagePooling(6, 4, norm_cfg=BN, act_cfg=dict(type='ReLU'))).train()
    x = images(3, 6, 5, 4)
    weight, norm = pool.conv.conv.weight, pool.conv.norm
    mean = x.flatten(2).mean(2) @ weight.flatten(1).T
    mean = (mean - mean.mean(0)) / (mean.var(0, unbiased=False) + norm.eps).sqrt()
    expected = F.relu(mean * norm.weight + norm.bias)[..., None, None].expand(-1, -1, 5, 4)
    before = norm.num_batches_tracked.item()
    torch.testing.assert_close(pool(x), expected, rtol=1e-4, atol=1e-5)
    assert norm.num_batches_tracked == before + 1
    pool.eval()
    torch.testing.assert_close(pool(x)[:1], pool(x[:1]))


def test_image_pooling_works_with_other_norms_at_batch_size_1():
    for norm_cfg in (dict(type='GN', num_groups=2), None):
        pool = ImagePooling(6, 4, norm_cfg=norm_cfg, act_cfg=None).train()
        assert pool(images(1, 6, 3, 3)).shape == (1, 4, 3, 3)


@pytest.mark.parametrize('head', [dict(), dict(dilations=(6, 12, 18))])
def test_exports_with_a_fixed_size(head):
    model = randomise(segmentor(dict(type='DeepLabV3Head', channels=8, **head))).eval()
    x = images(1, 3, 97, 65)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        exported = torch.export.export(model, (x,)).module()
    with torch.no_grad():
        torch.testing.assert_close(exported(x), model._forward(x), rtol=1e-4, atol=1e-5)


def test_bare_defaults_build():
    assert DeepLabV3Head().num_classes == MobileLRASPPHead().num_classes == 21
    assert DeepLabV3PlusHead().aspp_modules[3].depthwise_conv.conv.dilation == (18, 18)
