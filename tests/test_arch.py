"""The layer table of the paper, strides, widths and taps."""

import subprocess
import sys

import pytest

from mbv2_backbone.arch import TAP_NAMES, build_architecture, make_divisible, resolve_taps

PAPER_CHANNELS = (16, 24, 32, 64, 96, 160, 320)


def test_the_table_of_the_paper():
    taps = build_architecture().taps
    assert tuple(taps[f'layer{i}'].channels for i in range(1, 8)) == PAPER_CHANNELS
    assert (taps['layer6.expand'].channels, taps['layer6.expand'].stride) == (576, 16)
    assert (taps['conv2'].channels, taps['conv2'].stride) == (1280, 32)
    assert [taps[f'layer{i}'].stride for i in range(1, 8)] == [2, 4, 8, 16, 16, 32, 32]


@pytest.mark.parametrize(
    ('output_stride', 'strides', 'dilations'),
    [
        (32, (2, 4, 8, 16, 16, 32, 32), '1 11 111 1111 111 111 1'),
        (16, (2, 4, 8, 16, 16, 16, 16), '1 11 111 1111 111 122 2'),
        (8, (2, 4, 8, 8, 8, 8, 8), '1 11 111 1222 222 244 4'),
    ],
)
def test_output_stride_turns_strides_into_dilation(output_stride, strides, dilations):
    architecture = build_architecture(output_stride=output_stride)
    assert tuple(architecture.taps[f'layer{i}'].stride for i in range(1, 8)) == strides
    blocks = architecture.stages.values()
    assert ' '.join(''.join(str(b.dilation) for b in stage) for stage in blocks) == dilations


def test_conv2_is_not_narrower_below_width_one():
    assert build_architecture(0.35).last_channels == 1280
    assert build_architecture(1.4).last_channels == 1792


# DeepLab's mobilenet_v2 below width 1 (`divisible_by=1`): channels of conv1 and of layer1..layer7.
UNROUNDED = {
    0.35: (11, 6, 8, 11, 22, 34, 56, 112),
    0.5: (16, 8, 12, 16, 32, 48, 80, 160),
    0.25: (8, 4, 6, 8, 16, 24, 40, 80),
}
# slim's `expand_input_by_factor(6)` has multiples of 8 whatever the channels are.
EXPANDED = {
    0.35: [40, 48, 64, 136, 208, 336],
    0.5: [48, 72, 96, 192, 288, 480],
    0.25: [24, 40, 48, 96, 144, 240],
}


def slim_divisible(value, divisor):
    """Round as slim's `_make_divisible` does, step by step."""
    low = value // divisor * divisor
    nearest = low + divisor if value - low >= divisor / 2 else low
    result = max(divisor, nearest)
    return int(result + divisor if result < 0.9 * value else result)


@pytest.mark.parametrize('width', UNROUNDED)
def test_channels_that_are_not_rounded_are_those_of_deeplabs_narrow_models(width):
    architecture = build_architecture(width, round_to=1)
    taps = architecture.taps
    found = tuple(taps[name].channels for name in ('conv1', *(f'layer{i}' for i in range(1, 8))))
    assert found == UNROUNDED[width]
    assert architecture.last_channels == 1280
    layers = list(architecture.stages.values())
    assert layers[0][0].mid_channels == UNROUNDED[width][0]  # layer1 has no expansion
    mid_channels = [block.mid_channels for blocks in layers[1:] for block in blocks]
    in_channels = [block.in_channels for blocks in layers[1:] for block in blocks]
    assert mid_channels == [slim_divisible(6 * channels, 8) for channels in in_channels]
    assert list(dict.fromkeys(mid_channels)) == EXPANDED[width]


@pytest.mark.parametrize('round_to', [1, 2, 4, 8, 16])
@pytest.mark.parametrize('width', [0.35, 0.5, 0.75, 1.0, 1.3, 1.4])
def test_channels_are_rounded_by_slims_rule(width, round_to):
    taps = build_architecture(width, round_to=round_to).taps
    for i, channels in enumerate(PAPER_CHANNELS, 1):
        assert taps[f'layer{i}'].channels == slim_divisible(channels * width, round_to)


def test_round_to_changes_no_model_of_the_paper_and_8_is_the_default():
    assert build_architecture(1.0, round_to=1) == build_architecture(1.0)
    assert build_architecture(0.35, round_to=8) == build_architecture(0.35)
    for width in (0.25, 0.35, 0.5, 0.75, 1.0, 1.3, 1.4):
        for blocks in build_architecture(width).stages.values():
            for block in blocks:  # the expansion of multiples of 8 needs no rounding
                assert block.mid_channels == block.in_channels * block.expand_ratio


def test_make_divisible_never_takes_more_than_a_tenth():
    for value in [x / 4 for x in range(32, 2000)]:
        rounded = make_divisible(value)
        assert rounded % 8 == 0
        assert rounded >= 0.9 * value
        assert abs(rounded - value) <= 8


def test_resolve_taps():
    assert resolve_taps((7, 'layer6.expand', 1)) == ('layer2', 'layer6.expand', 'conv2')
    assert resolve_taps('conv1') == ('conv1',)
    assert resolve_taps(tuple(range(8))) == (*(f'layer{i}' for i in range(1, 8)), 'conv2')
    assert len(TAP_NAMES) == 15


@pytest.mark.parametrize(
    ('taps', 'said'),
    [
        ((8,), 'unknown tap 8'),
        ((-1,), 'unknown tap -1'),
        ((True,), 'unknown tap True'),
        (('layer1.expand',), 'layer7.expand'),
        ((), 'is empty'),
        ((6, 'layer7'), 'twice'),
        ((2.0,), 'unknown tap 2.0'),
    ],
)
def test_wrong_taps_are_refused_with_the_valid_ones(taps, said):
    with pytest.raises(ValueError, match=said):
        resolve_taps(taps)


@pytest.mark.parametrize('width', [0, -1, float('nan'), float('inf'), '1.0', None, True])
def test_wrong_widths_are_refused(width):
    with pytest.raises(ValueError, match='widen_factor'):
        build_architecture(width)


@pytest.mark.parametrize('output_stride', [4, 64, 0, None, '16'])
def test_wrong_output_strides_are_refused(output_stride):
    with pytest.raises(ValueError, match=r'\(8, 16, 32\)'):
        build_architecture(output_stride=output_stride)


@pytest.mark.parametrize('round_to', [0, -8, 1.0, True, None, '8'])
def test_wrong_roundings_are_refused(round_to):
    with pytest.raises(ValueError, match='round_to must be an integer of 1 or more'):
        build_architecture(round_to=round_to)


def test_the_table_needs_no_torch():
    code = (
        'import importlib.util, sys\n'
        'spec = importlib.util.spec_from_file_location("arch", sys.argv[1])\n'
        'arch = importlib.util.module_from_spec(spec)\n'
        'sys.modules["arch"] = arch\n'
        'spec.loader.exec_module(arch)\n'
        'assert arch.build_architecture().taps and "torch" not in sys.modules\n'
    )
    import mbv2_backbone.arch as module

    subprocess.run([sys.executable, '-c', code, module.__file__], check=True)
