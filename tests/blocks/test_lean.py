"""Lean convolutions against mmcv's: values, gradients, statistics, and what is kept."""

import copy
import weakref

import pytest
import torch
from helpers.networks import images
from mmcv.cnn import ConvModule
from torch import nn

from mbv2_backbone.backbone import MobileNetV2Backbone
from mbv2_backbone.blocks import convolve, make_lean
from mbv2_backbone.blocks.lean import LeanConvModule

TAPS = dict(widen_factor=0.25, out_indices=('layer2.expand', 'layer6.expand', 'conv2'))
SETTINGS = {
    'plain': dict(),
    'same padding': dict(padding='same'),
    'ReLU': dict(act_cfg=dict(type='ReLU')),
    'norms in eval mode': dict(norm_eval=True, padding='same'),
    'frozen': dict(frozen_stages=2),
    'recomputed': dict(with_cp=True, padding='same'),
    'group norm': dict(norm_cfg=dict(type='GN', num_groups=2)),
}


def stock(module):
    """Return a copy with mmcv's own modules, whose norms and activations are torch's."""
    copied = copy.deepcopy(module)
    for each in copied.modules():
        if type(each) is LeanConvModule:
            each.__class__ = ConvModule
    return copied


def pair(*layers):
    """Return modules in a row: lean ones, and the same as mmcv has them."""
    lean = nn.Sequential(*layers).double()
    make_lean(lean)
    for norm in lean.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, -1, 2)
            nn.init.uniform_(norm.bias, -1, 1)
            nn.init.uniform_(norm.running_mean, -1, 1)
    return lean, stock(lean)


def layer(in_channels, out_channels, act='ReLU6', **kwargs):
    act_cfg = act and dict(type=act)
    return ConvModule(
        in_channels, out_channels, 3, padding=1, norm_cfg=dict(type='BN'), act_cfg=act_cfg, **kwargs
    )


def gradients(model, x):
    """Return the outputs and the gradients of the parameters, of random sums of the outputs."""
    outs = model(x)
    outs = outs if isinstance(outs, tuple) else (outs,)
    torch.manual_seed(3)
    total = sum((out * torch.randn_like(out)).sum() for out in outs)
    params = [p for p in model.parameters() if p.requires_grad]
    return [*outs, *torch.autograd.grad(total, params)]


def assert_same(found, expected, **tolerance):
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, **tolerance)


@pytest.mark.parametrize('settings', SETTINGS.values(), ids=list(SETTINGS))
def test_the_backbone_has_the_stock_gradients_and_statistics(settings):
    lean = MobileNetV2Backbone(**TAPS, **settings).double()
    lean.init_weights()
    plain = stock(lean)
    for seed in (1, 2):
        x = images(2, 3, 45, 64, seed=seed).double()
        found, expected = (gradients(model.train(), x) for model in (lean, plain))
        assert_same(found, expected, rtol=1e-9, atol=1e-10)
    assert_same(lean.state_dict().values(), plain.state_dict().values(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('act', ['ReLU6', 'ReLU', 'LeanReLU6', None])
def test_gradcheck(act):
    lean, _ = pair(layer(2, 3, act), layer(3, 2, act))
    x = (images(2, 2, 4, 5) * 2).double().requires_grad_()
    assert torch.autograd.gradcheck(lean, x, nondet_tol=0)


def kept(model, x, monkeypatch):
    """Return how many inputs of convolutions the forward pass leaves alive, and padded inputs."""
    inputs, padded = [], []
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_pre_hook(
                lambda module, args: inputs.append(weakref.ref(args[0]))
            )

    def pad(*args):
        out = torch.constant_pad_nd(*args)
        padded.append(weakref.ref(out))
        return out

    with monkeypatch.context() as patch:
        patch.setattr(nn.functional, 'pad', pad)
        outs = model(x)
    assert len(inputs) == 52
    assert all(out.requires_grad for out in outs)
    return [sum(ref() is not None for ref in refs) for refs in (inputs, padded)]


def test_only_sums_are_kept_for_convolutions(monkeypatch):
    lean = MobileNetV2Backbone(out_indices=('conv2',)).train()
    x = images(2, 3, 64, 64)
    assert kept(stock(lean), x, monkeypatch) == [52, 0]
    assert kept(lean, x, monkeypatch) == [11, 0]  # the image, and ten sums of residual blocks


def test_with_tensorflows_padding_only_sums_and_the_padded_image_are_kept(monkeypatch):
    lean = MobileNetV2Backbone(out_indices=('conv2',), padding='same').train()
    x = images(2, 3, 64, 64)
    assert kept(stock(lean), x, monkeypatch) == [48, 5]
    assert kept(lean, x, monkeypatch) == [11, 1]


def test_without_gradients_nothing_is_kept():
    lean = MobileNetV2Backbone(**TAPS).train()
    with torch.no_grad():
        assert all(out.grad_fn is None for out in lean(images(2, 3, 64, 64)))
    assert int(lean.conv1.bn.num_batches_tracked) == 1


def test_a_weight_of_the_inputs_shape_is_not_taken_for_it():
    lean, plain = pair(layer(2, 5), layer(5, 4, conv_cfg=dict(type='Conv2dAdaptivePadding')))
    for x in (images(4, 2, 3, 3), images(4, 2, 6, 5)):
        assert_same(gradients(lean, x.double()), gradients(plain, x.double()))


class Branches(nn.Module):
    """A map that two convolutions and an addition take."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = (
            layer(2, 3),
            layer(3, 3),
            layer(3, 3),
        )
        self.last = nn.Conv2d(3, 1, 1)

    def forward(self, x):
        x = self.first(x)
        return convolve(self.last, self.second(x)) + convolve(self.last, x + self.third(x))


def test_a_map_may_have_several_readers():
    lean, plain = pair(Branches())
    x = images(2, 2, 6, 5).double()
    assert_same(gradients(lean, x), gradients(plain, x))


def test_the_backward_pass_can_be_repeated_but_not_derived():
    lean, plain = pair(layer(2, 3), layer(3, 2))
    x = images(2, 2, 6, 5).double().requires_grad_()
    out, expected = lean(x), torch.autograd.grad((plain(x) ** 2).sum(), x)[0]
    for _ in range(2):
        torch.testing.assert_close(
            torch.autograd.grad((out**2).sum(), x, retain_graph=True)[0], expected
        )
    (first,) = torch.autograd.grad((out**2).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match='once_differentiable'):
        first.sum().backward()


def test_mixed_precision_has_the_stock_outputs_and_nearly_its_gradients():
    lean = MobileNetV2Backbone(widen_factor=0.25, out_indices=('layer3',))
    lean.init_weights()
    plain = stock(lean)
    x = images(4, 3, 64, 64)
    with torch.autocast('cpu', torch.bfloat16):
        found, expected = (gradients(model.train(), x) for model in (lean, plain))
    assert found[0].dtype == torch.bfloat16
    assert torch.equal(found[0], expected[0])
    for one, other in zip(found[1:], expected[1:], strict=True):
        assert torch.cosine_similarity(one.flatten(), other.flatten(), dim=0) > 0.99


def hook(module):
    module.register_forward_hook(lambda module, args, out: out * 2)


@pytest.mark.parametrize('hooked', ['bn', 'activate'])
def test_hooks_on_norm_and_activation_run(hooked):
    lean, _ = pair(layer(2, 3), layer(3, 2))
    hook(getattr(lean[0], hooked))
    plain = stock(lean)
    x = images(2, 2, 6, 5).double()
    assert_same(gradients(lean, x), gradients(plain, x))


@pytest.mark.parametrize(
    'norm', [nn.BatchNorm2d(3, affine=False), nn.BatchNorm2d(3, track_running_stats=False),
             nn.BatchNorm2d(3, momentum=None), nn.SyncBatchNorm(3), nn.InstanceNorm2d(3)],
    ids=['no weights', 'no statistics', 'cumulative', 'in several processes', 'another'],
)  # fmt: skip
def test_another_norm_is_left_to_torch(norm):
    lean, _ = pair(layer(2, 3), layer(3, 2))
    lean[0].bn = norm.double()
    lean = lean.eval() if isinstance(norm, nn.SyncBatchNorm) else lean  # training needs a GPU
    plain = stock(lean)
    x = images(2, 2, 6, 5).double()
    assert_same(gradients(lean, x), gradients(plain, x))
    assert_same(lean.state_dict().values(), plain.state_dict().values())


def test_one_value_per_channel_is_refused_as_by_torch():
    lean, _ = pair(layer(2, 3))
    with pytest.raises(ValueError, match='more than 1 value per channel'):
        lean(images(1, 2, 1, 1).double())


@pytest.mark.parametrize('activate', [False, True])
@pytest.mark.parametrize('norm', [False, True])
def test_norm_and_activation_can_be_left_out(norm, activate):
    lean, plain = pair(layer(2, 3))
    x = images(2, 2, 6, 5).double()
    torch.testing.assert_close(lean[0](x, activate, norm), plain[0](x, activate, norm))


@pytest.mark.parametrize(
    'kwargs',
    [
        dict(order=('act', 'conv', 'norm')),
        dict(padding_mode='reflect'),
        dict(with_spectral_norm=True),
    ],
)
def test_another_kind_of_module_is_mmcvs(kwargs):
    torch.manual_seed(0)
    lean, plain = pair(layer(2, 2, **kwargs), layer(2, 2))
    x = images(2, 2, 6, 5).double()
    assert_same(gradients(lean, x), gradients(plain, x))


@pytest.mark.slow
def test_200_steps_have_the_stock_losses():
    losses = {}
    lean = MobileNetV2Backbone(widen_factor=0.25, out_indices=('conv2',), padding='same').double()
    lean.init_weights()
    for name, model in (('lean', lean), ('stock', stock(lean))):
        torch.manual_seed(0)
        head = nn.Linear(1280, 4).double()
        optimizer = torch.optim.SGD(
            [*model.parameters(), *head.parameters()], 1e-4
        )  # more is chaotic
        model.train()
        for step in range(200):
            x = images(8, 3, 64, 64, seed=step % 10).double()
            labels = x.mean((1, 2, 3)).mul(50).long().remainder(4)
            loss = nn.functional.cross_entropy(head(model(x)[0].mean((2, 3))), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.setdefault(name, []).append(loss.item())
    assert losses['lean'] == pytest.approx(losses['stock'], abs=1e-10)
    assert losses['lean'][-1] < losses['lean'][0] / 2
