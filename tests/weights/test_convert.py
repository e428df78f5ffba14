"""Where a checkpoint keeps its tensors, and what is said if it has none."""

import pytest
import torch

from mbv2_backbone import MobileNetV2Backbone
from mbv2_backbone.weights.convert import convert, unwrap

WEIGHTS = MobileNetV2Backbone(widen_factor=0.1).state_dict()
AVERAGED = {name: tensor + 1 for name, tensor in WEIGHTS.items()}
OPTIMIZER = dict(state={i: dict(exp_avg=torch.zeros(2)) for i in range(999)}, param_groups=[])


@pytest.mark.parametrize(
    ('checkpoint', 'key'),
    [
        # PyTorch's tutorial on saving, kuangliu/pytorch-cifar, torchvision's own `weights`,
        # BasicSR, Lightning's fabric, and a counter that is a tensor beside them.
        (
            dict(epoch=3, model_state_dict=WEIGHTS, optimizer_state_dict=OPTIMIZER),
            'model_state_dict',
        ),
        (dict(net=WEIGHTS, acc=0.9), 'net'),
        (dict(weights=WEIGHTS), 'weights'),
        (dict(params=WEIGHTS, opt=OPTIMIZER), 'params'),
        (dict(checkpoint=dict(student=WEIGHTS), head=dict(w=torch.ones(1))), 'checkpoint.student'),
        (dict(step=torch.tensor(7), network=WEIGHTS), 'network'),
    ],
)
def test_the_weights_are_found_under_any_key(checkpoint, key):
    tensors, notes = unwrap(checkpoint)
    assert tensors == WEIGHTS
    assert notes == (f"weights of '{key}'",)
    assert convert(checkpoint)[1].widen_factor == 0.1


@pytest.mark.parametrize('key', ['ema', 'net_ema', 'ema_model_state'])
def test_averaged_weights_are_taken_before_others(key):
    tensors, notes = unwrap({'net': WEIGHTS, key: AVERAGED})
    assert torch.equal(tensors['conv1.conv.weight'], AVERAGED['conv1.conv.weight'])
    assert notes == (f"weights of '{key}'",)


def test_a_checkpoint_without_tensors_says_what_it_holds():
    with pytest.raises(ValueError, match=r'holds no tensor, only epoch \(int\), args \(dict\)'):
        convert(dict(epoch=3, args=dict(lr=0.1)))


def test_a_checkpoint_that_contains_itself_ends():
    checkpoint = dict(epoch=1)
    checkpoint['self'] = checkpoint
    assert unwrap(checkpoint) == ({}, ())
