"""Converted Keras weights, from each of Keras' file formats, give the original outputs."""

import os

os.environ.setdefault('KERAS_BACKEND', 'torch')

import h5py
import keras as keras_library
import numpy as np
import pytest
import torch
from original_networks import file_taps, keras_taps

from mbv2_backbone import MobileNetV2Backbone
from mbv2_backbone.arch import TAP_NAMES
from mbv2_backbone.weights import convert, load_into
from mbv2_backbone.weights.checkpoint_files import read_checkpoint
from mbv2_backbone.weights.layouts import keras_names as keras

SIZE = 64
pytestmark = pytest.mark.filterwarnings('ignore::DeprecationWarning')  # keras, numpy 2


def keras_model(alpha=1.0, classes=5, seed=0):
    """Return a random model as after training: random scales and shifts, statistics of its maps.

    With statistics that do not fit, maps and their rounding errors grow from block to block
    (to 3e-4 between our own outputs in float32 and float64).
    """
    keras_library.utils.set_random_seed(seed)
    model = keras_library.applications.MobileNetV2(
        weights=None, alpha=alpha, input_shape=(SIZE, SIZE, 3), classes=classes
    )
    rng = np.random.default_rng(seed)
    norms = [la for la in model.layers if isinstance(la, keras_library.layers.BatchNormalization)]
    for norm in norms:
        norm.momentum = 0.0
        gamma, beta, *statistics = norm.get_weights()
        gamma, beta = rng.uniform(0.3, 0.9, gamma.shape), rng.normal(0, 0.2, beta.shape)
        norm.set_weights([gamma, beta, *statistics])
    with torch.no_grad():
        model([rng.uniform(-1, 1, (16, SIZE, SIZE, 3)).astype('float32')], training=True)
    for norm in norms:
        norm.momentum = 0.999
    return model


def pixels(size=SIZE):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (2, 3, size, size), generator=generator).float()


def preprocessed_by_keras(image):
    preprocess = keras_library.applications.mobilenet_v2.preprocess_input
    nhwc = preprocess(image.permute(0, 2, 3, 1).numpy().copy())
    return torch.from_numpy(nhwc).permute(0, 3, 1, 2)


def assert_same_taps(model, path, alpha, left_over='classifier'):
    backbone = MobileNetV2Backbone(
        widen_factor=alpha,
        out_indices=TAP_NAMES,
        padding='same',
        norm_cfg=dict(type='BN', eps=1e-3),
    )
    report = load_into(backbone, path)
    assert (report.layout, report.widen_factor) == ('keras', alpha)
    assert (report.filled, report.total, len(report.zeroed)) == (312, 312, 52)
    assert list(report.left_over) == [left_over]

    image, preprocessing = pixels(), report.origin.preprocessing
    wanted = keras_taps(model, preprocessed_by_keras(image))
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (preprocessing.mean, preprocessing.std))
    with torch.no_grad():
        got = backbone.eval()((image - mean) / std)
    for tap, feature in zip(TAP_NAMES, got, strict=True):
        assert wanted[tap].abs().max() > 0.1, 'a map of zeros would prove nothing'
        torch.testing.assert_close(feature, wanted[tap], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('alpha', [0.35, 0.5, 0.75, 1.0, 1.3, 1.4])
def test_numbers_of_keras_at_every_width(alpha, tmp_path):
    model = keras_model(alpha)
    model.save_weights(tmp_path / 'model.weights.h5')
    assert_same_taps(model, tmp_path / 'model.weights.h5', alpha)


@pytest.mark.parametrize('name', ['model.keras', 'model.h5'])
def test_numbers_of_keras_from_whole_models(name, tmp_path):
    model = keras_model(0.35)
    model.save(tmp_path / name)
    assert_same_taps(model, tmp_path / name, 0.35)


def write_keras_2_weights(model, path, rename=lambda layer: layer):
    """Write weights as Keras 2 did: by layer, with `:0` after each name."""
    with h5py.File(path, 'w') as file:
        file.attrs['layer_names'] = [rename(layer.name) for layer in model.layers]
        for layer in model.layers:
            name = rename(layer.name)
            group = file.create_group(name)
            variables = [w.name for w in layer.weights]
            if isinstance(layer, keras_library.layers.DepthwiseConv2D):
                variables = ['depthwise_kernel']
            group.attrs['weight_names'] = [f'{name}/{v}:0' for v in variables]
            for variable, value in zip(variables, layer.get_weights(), strict=True):
                group[f'{name}/{variable}:0'] = value


def name_of_2018(layer):
    """Return the layer's name in the files that keras.applications downloads."""
    parts = layer.replace('expanded_conv', 'block_0').split('_')
    if (
        parts[0] != 'block'
        or parts[-1] in ('relu', 'pad')
        or parts[2] not in ('expand', 'depthwise', 'project')
    ):
        return {'predictions': 'Logits'}.get(layer, layer)
    n = parts[1]
    return f'bn{n}_conv_{n}_bn_{parts[2]}' if parts[-1] == 'BN' else f'mobl{n}_conv_{n}_{parts[2]}'


@pytest.mark.parametrize('rename', [lambda layer: layer, name_of_2018], ids=['keras_2', '2018'])
def test_numbers_of_keras_2_files(rename, tmp_path):
    model = keras_model(0.35)
    write_keras_2_weights(model, tmp_path / 'weights.h5', rename)
    assert_same_taps(model, tmp_path / 'weights.h5', 0.35)


def test_numbered_names_where_the_file_has_no_layer_names(tmp_path):
    model = keras_model(0.35)
    path = tmp_path / 'model.weights.h5'
    model.save_weights(path)
    with h5py.File(path, 'a') as file:
        for group in file['layers'].values():
            if 'vars' in group:
                group['vars'].attrs.pop('name', None)
    assert 'layers/conv2d/vars/0' in read_checkpoint(path)
    assert_same_taps(model, path, 0.35)


def test_backbone_inside_a_users_model(tmp_path):
    base = keras_model(0.35)
    base = keras_library.Model(base.inputs, base.get_layer('out_relu').output)
    inputs = keras_library.Input((SIZE, SIZE, 3))
    pooled = keras_library.layers.GlobalAveragePooling2D()(base(inputs))
    user_model = keras_library.Model(inputs, keras_library.layers.Dense(2)(pooled))
    user_model.save(tmp_path / 'user.keras')
    assert_same_taps(base, tmp_path / 'user.keras', 0.35, 'not part of the backbone')


def test_verification_runs_keras_own_loader(tmp_path):
    model = keras_model(0.5)
    model.save_weights(tmp_path / 'model.weights.h5')
    image = preprocessed_by_keras(pixels(SIZE))
    wanted = keras_taps(model, image)
    got = file_taps(tmp_path / 'model.weights.h5', image)
    assert list(got) == list(wanted)
    for tap, feature in wanted.items():
        torch.testing.assert_close(got[tap], feature)


def test_a_different_padding_or_eps_is_a_warning(tmp_path):
    keras_model(0.35).save_weights(tmp_path / 'model.weights.h5')
    backbone = MobileNetV2Backbone(widen_factor=0.35)
    with (
        pytest.warns(UserWarning, match=r"(?s)Set in the backbone:.padding='same',"),
        pytest.warns(UserWarning, match=r"norm_cfg=dict\(type='BN', eps=0.001\),"),
    ):
        load_into(backbone, tmp_path / 'model.weights.h5')


def test_a_keras_network_with_more_blocks_is_refused(tmp_path):
    state_dict = read_checkpoint_of(keras_model(0.35), tmp_path)
    state_dict['model_weights/block_17_expand/block_17_expand/kernel'] = torch.zeros(1, 1, 4, 4)
    with pytest.raises(ValueError, match=r'block_17_expand.*no such tensor in MobileNetV2'):
        convert(state_dict)


def test_axes(tmp_path):
    state_dict = read_checkpoint_of(keras_model(0.35), tmp_path)
    converted, _ = keras.LAYOUT.to_ours(
        {k.removeprefix('model_weights/'): v for k, v in state_dict.items()}
    )
    kernel = state_dict['model_weights/block_1_depthwise/block_1_depthwise/kernel']
    ours = converted['layer2.0.depthwise_conv.conv.weight']
    assert ours[5, 0, 2, 1] == kernel[2, 1, 5, 0]
    kernel = state_dict['model_weights/block_1_expand/block_1_expand/kernel']
    assert converted['layer2.0.expand_conv.conv.weight'][5, 3, 0, 0] == kernel[0, 0, 3, 5]


def read_checkpoint_of(model, folder):
    model.save(folder / 'model.h5')
    return read_checkpoint(folder / 'model.h5')


@pytest.mark.parametrize('name', ['model.h5', 'model.keras'])
def test_a_model_that_was_saved_after_training(tmp_path, name):
    """Its optimizer has scalars, such as the number of steps, and tensors of our names."""
    model = keras_model(alpha=0.35, classes=3)
    model.compile(optimizer='adam', loss='categorical_crossentropy')
    model.train_on_batch(np.random.default_rng(0).random((2, SIZE, SIZE, 3)), np.eye(3)[:2])
    model.save(tmp_path / name)
    stored = read_checkpoint(tmp_path / name)
    assert any(tensor.ndim == 0 for tensor in stored.values())
    settings = dict(padding='same', norm_cfg=dict(type='BN', eps=1e-3), out_indices=('conv2',))
    report = load_into(MobileNetV2Backbone(widen_factor=0.35, **settings), tmp_path / name)
    assert report.filled == report.total
