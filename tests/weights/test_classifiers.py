"""Whole classifiers of each library give their own probabilities for a photo, by its own rules."""

import os

os.environ.setdefault('KERAS_BACKEND', 'torch')

import keras
import numpy as np
import pytest
import timm
import torch
import torchvision
from helpers.networks import randomise
from helpers.paths import config_path
from helpers.resizing import slow_legacy_resize
from helpers.tensorflow import variables_of, write_graph
from mmengine.dataset import pseudo_collate
from mmengine.registry import MODELS
from mmengine.runner.checkpoint import CheckpointLoader
from PIL import Image

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.weights import load_into
from mbv2_backbone.weights.classifiers import imagenet_classes, whole_classifier
from mbv2_backbone.weights.runner import refuse_code_in_checkpoints
from mbv2_backbone.weights.whole_model import load_weights, read_state_dict
from mbv2_backbone.workbench.configs.read import load_config
from mbv2_backbone.workbench.predict.file_predictor import array_pipeline

pytestmark = pytest.mark.filterwarnings('ignore::DeprecationWarning')  # keras, numpy 2
PHOTO = np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)
PHOTO = np.asarray(Image.fromarray(PHOTO).resize((330, 280), Image.BICUBIC))  # RGB
NARROW = ['model.backbone.widen_factor=0.5']


def spread(classifier):
    """Make the probabilities of a linear layer differ."""
    classifier.weight.data.normal_(0, 0.5, generator=torch.Generator().manual_seed(2))
    classifier.bias.data.normal_(0, 0.5, generator=torch.Generator().manual_seed(3))


def ours(config, path, classes, *options):
    """Probabilities of the photo by a config's test pipeline and model."""
    cfg = load_config(config_path(config), [*options, f'model.head.num_classes={classes}'])
    model = MODELS.build(cfg.model).eval()
    load_weights(model, str(path))
    batch = pseudo_collate([array_pipeline(cfg)(dict(img=np.ascontiguousarray(PHOTO[..., ::-1])))])
    with torch.no_grad():
        return model.test_step(batch)[0].pred_scores.numpy()


def assert_probabilities(found, expected, tolerance=1e-5):
    expected = np.asarray(expected, np.float64).squeeze()
    assert expected.max() > 1.2 * expected.mean()
    np.testing.assert_allclose(found, expected, atol=tolerance, rtol=tolerance)


@pytest.fixture
def torchvisions():
    model = randomise(torchvision.models.mobilenet_v2(width_mult=0.5, num_classes=1000)).eval()
    spread(model.classifier[1])
    return model


def by_torchvision(model):
    view = torchvision.models.MobileNet_V2_Weights.IMAGENET1K_V1.transforms()
    with torch.no_grad():
        return model(view(Image.fromarray(PHOTO))[None]).softmax(1)


def test_torchvision(torchvisions, tmp_path):
    torch.save(torchvisions.state_dict(), tmp_path / 'mobilenet_v2.pth')
    found = ours('mobilenetv2_in1k', tmp_path / 'mobilenet_v2.pth', 1000, *NARROW)
    assert_probabilities(found, by_torchvision(torchvisions))


def test_mmpretrain_whose_names_are_those_of_mmseg_with_a_head(torchvisions, tmp_path):
    """The names are written here; tests/test_backbone_mmpretrain.py has mmpretrain's own model."""
    from mmseg.models.backbones import MobileNetV2

    from mbv2_backbone.weights import convert
    from mbv2_backbone.weights.layouts.mmseg_names import LAYOUT

    backbone, _ = convert(torchvisions.state_dict())
    theirs = LAYOUT.from_ours(backbone)
    assert MobileNetV2(widen_factor=0.5, out_indices=(6,)).state_dict().keys() < theirs.keys()
    tensors = {f'backbone.{name}': value for name, value in theirs.items()}
    linear = torchvisions.classifier[1].state_dict()
    tensors |= {f'head.fc.{name}': value for name, value in linear.items()}
    torch.save(dict(meta=dict(epoch=300), state_dict=tensors), tmp_path / 'mmpretrain.pth')
    found = ours('mobilenetv2_in1k', tmp_path / 'mmpretrain.pth', 1000, *NARROW)
    assert_probabilities(found, by_torchvision(torchvisions))


@pytest.mark.parametrize('suffix', ['pth', 'safetensors'])
def test_timm(suffix, tmp_path):
    model = randomise(timm.create_model('mobilenetv2_050', num_classes=7)).eval()
    spread(model.classifier)
    path = tmp_path / f'model.{suffix}'
    if suffix == 'pth':
        torch.save(dict(state_dict=model.state_dict()), path)
    else:
        from safetensors.torch import save_file

        save_file(model.state_dict(), path)
    view = timm.data.create_transform(**timm.data.resolve_data_config({}, model=model))
    with torch.no_grad():
        expected = model(view(Image.fromarray(PHOTO))[None]).softmax(1)
    found = ours('mobilenetv2_in1k_timm', path, 7, *NARROW)
    assert_probabilities(found, expected)


def slims_view():
    """The middle 7/8 of the photo's sides at 224 px by the rule of TensorFlow 1, -1 to 1."""
    top, left = (int((side - side * 0.875) / 2) for side in PHOTO.shape[:2])
    middle = PHOTO[top : PHOTO.shape[0] - top, left : PHOTO.shape[1] - left]
    return slow_legacy_resize(middle, (224, 224)).astype(np.float32) / 127.5 - 1


def settled(model):
    """Give a Keras model seeded scales, and statistics of its own maps."""
    rng = np.random.default_rng(0)
    norms = [la for la in model.layers if isinstance(la, keras.layers.BatchNormalization)]
    for norm in norms:
        norm.momentum = 0.0
        gamma, beta, *statistics = norm.get_weights()
        gamma, beta = rng.uniform(0.3, 0.9, gamma.shape), rng.normal(0, 0.2, beta.shape)
        norm.set_weights([gamma, beta, *statistics])
    *_, last = model.layers
    kernel, bias = last.get_weights()
    last.set_weights([rng.normal(0, 0.5, kernel.shape), rng.normal(0, 0.5, bias.shape)])
    with torch.no_grad():
        model([rng.uniform(-1, 1, (8, 224, 224, 3)).astype('float32')], training=True)
    return model


@pytest.mark.parametrize('suffix', ['h5', 'weights.h5', 'keras'])
def test_keras(suffix, tmp_path):
    keras.utils.set_random_seed(0)
    model = settled(keras.applications.MobileNetV2(weights=None, alpha=0.5, classes=7))
    path = tmp_path / f'model.{suffix}'
    (model.save_weights if suffix == 'weights.h5' else model.save)(path)
    with torch.no_grad():
        expected = model(slims_view()[None], training=False).numpy()
    found = ours('mobilenetv2_in1k_tf', path, 7, *NARROW)
    assert_probabilities(found, expected, 1e-4)


@pytest.mark.parametrize('averaged', [False, True])
def test_tensorflows_background_is_dropped(averaged, tmp_path):
    """The 1,001 outputs of slim: the probabilities of the others are those without the first."""
    options = [*NARROW, 'model.head.num_classes=1001']
    cfg = load_config(config_path('mobilenetv2_in1k_tf'), options)
    model = randomise(MODELS.build(cfg.model)).eval()
    spread(model.head.fc)
    model.head.fc.bias.data[0] = 9.0  # an output that matters
    outputs = {}
    for name, tensor in model.head.fc.state_dict().items():
        kernel = tensor.numpy().T if tensor.ndim == 1 else tensor.numpy().T[None, None]
        variable = dict(weight='weights', bias='biases')[name]
        outputs[f'MobilenetV2/Logits/Conv2d_1c_1x1/{variable}'] = kernel
    del model.head
    variables = variables_of(model, None, 'MobilenetV2/') | outputs
    if averaged:
        variables = {
            name: value
            for variable, values in variables.items()
            for name, value in (
                (variable, values * 0),
                (f'{variable}/ExponentialMovingAverage', values),
                (f'{variable}/RMSProp_1', values + 1),
            )
        }
    path = write_graph(variables, tmp_path / 'mobilenet_v2_1.0_224_frozen.pb')
    x = torch.from_numpy(slims_view()).permute(2, 0, 1)[None]
    with torch.no_grad():
        pooled = model.backbone(x)[0].mean((2, 3))
    kernel, bias = (torch.from_numpy(outputs[name]).squeeze() for name in outputs)
    whole = (pooled @ kernel + bias).softmax(1)[:, 1:]
    found = ours('mobilenetv2_in1k_tf', path, 1000, *NARROW)
    assert_probabilities(found, whole / whole.sum(), 1e-4)


def narrow(classes):
    cfg = load_config(config_path('mobilenetv2_in1k'), NARROW)
    return MODELS.build(dict(cfg.model, head=dict(type='ClassifierHead', num_classes=classes)))


def test_outputs_of_equal_classes_are_taken_and_others_start_anew(torchvisions):
    model = narrow(3)
    before = model.head.fc.weight.detach().clone()
    report = load_into(
        model, torchvisions.state_dict(), classes=('toilet tissue', 'unicorn', 'tench')
    )
    theirs = torchvisions.classifier[1].weight
    assert torch.equal(model.head.fc.weight[[0, 2]], theirs[[999, 0]])
    assert torch.equal(model.head.fc.weight[1], before[1])
    assert 'classes that start anew: unicorn' in str(report)
    assert imagenet_classes(1000)[0] == 'tench'
    assert imagenet_classes(5) is None


def test_a_runner_reads_them_as_they_are(torchvisions, tmp_path):
    refuse_code_in_checkpoints()
    path = str(tmp_path / 'tv.pth')
    torch.save(torchvisions.state_dict(), path)
    model = narrow(1000)
    model.load_state_dict(CheckpointLoader.load_checkpoint(path, None, None)['state_dict'])
    assert torch.equal(model.head.fc.bias, torchvisions.classifier[1].bias)


def test_what_is_no_classifier_of_ours_keeps_its_names(tmp_path):
    resnet = torchvision.models.resnet18().state_dict()
    names = {f'head.{name}' for name in ('fc.weight', 'fc.bias')}
    assert whole_classifier({**resnet, **dict.fromkeys(names, torch.zeros(2))}) is None
    features = torchvision.models.mobilenet_v2(width_mult=0.5).features.state_dict()
    features = {f'features.{name}': value for name, value in features.items()}
    deeper = {f'classifier.{i}.weight': torch.zeros(2, 2) for i in range(4)}
    assert whole_classifier(features) is None
    assert whole_classifier(features | deeper) is None


def test_a_broken_classifier_is_refused(torchvisions, tmp_path):
    torchvisions.features[3].conv[0][0].weight.data[0] = float('nan')
    torch.save(torchvisions.state_dict(), tmp_path / 'nan.pth')
    with pytest.raises(UserError, match='NaN or infinity'):
        read_state_dict(str(tmp_path / 'nan.pth'))
