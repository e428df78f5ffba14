"""What a new config starts from, and that it takes everything that goes with the weights."""

import pytest
import torch
from helpers.networks import randomise
from helpers.paths import ROOT
from helpers.tensorflow import SSDLITE, deeplab_layer, ssdlite_layer, variables_of, write_graph
from mmengine.registry import MODELS

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.weights.sources import fetch
from mbv2_backbone.workbench.configs.fitted_start import fit_start
from mbv2_backbone.workbench.configs.read import load_config
from mbv2_backbone.workbench.configs.start import Start
from mbv2_backbone.workbench.configs.summary import summarise
from mbv2_backbone.workbench.new_config import initial_weights
from mbv2_backbone.workbench.new_config.write import Choices, write_config

pytestmark = pytest.mark.usefixtures('no_network')

SCRATCH = 'from scratch'


def trained(name):
    cfg = load_config(str(ROOT / f'configs/{name}.py'))
    return randomise(MODELS.build(cfg.model), seed=6).eval()


@pytest.fixture(scope='module')
def published(tmp_path_factory):
    """Frozen graphs of both tasks, by the addresses that are tried first."""
    folder = tmp_path_factory.mktemp('published')
    detector, segmentor = trained('ssdlite_mbv2_coco_tf'), trained('deeplabv3_mbv2_voc12_tf')
    around = variables_of(detector, ssdlite_layer, SSDLITE)
    backbone = {name: v for name, v in around.items() if not name.startswith('BoxPredictor')}
    return {
        initial_weights._DETECTOR: write_graph(backbone, folder / 'detector.pb'),
        initial_weights._SEGMENTOR: write_graph(
            variables_of(segmentor, deeplab_layer, 'MobilenetV2/'), folder / 'segmentor.pb'
        ),
    }, segmentor


@pytest.fixture
def online(published, monkeypatch):
    addresses, _ = published
    monkeypatch.setattr(initial_weights, 'fetch', lambda a: fetch(addresses.get(a, a)))


def write(dataset, task, tmp_path, **choices):
    out = tmp_path / 'x.py'
    settings = Choices(size=64, **choices)
    new = write_config(str(dataset), task, out=str(out), force=True, choices=settings)
    return load_config(str(out)), new.facts


@pytest.mark.parametrize('task', ['det', 'both'])
def test_a_detector_starts_from_the_papers(task, sample_dataset, tmp_path, online):
    cfg, facts = write(sample_dataset, task, tmp_path)
    assert f'backbone from {initial_weights._DETECTOR} (tensorflow layout)' in facts
    backbone, preprocessor = cfg.model.backbone, cfg.model.data_preprocessor
    assert backbone.init_cfg == dict(type='Pretrained', checkpoint=initial_weights._DETECTOR)
    assert (backbone.padding, backbone.norm_cfg.eps) == ('same', 1e-3)
    assert preprocessor.mean == preprocessor.std == [127.5] * 3


def test_a_segmentor_starts_from_a_whole_one(sample_dataset, tmp_path, published, online):
    addresses, segmentor = published
    cfg, facts = write(sample_dataset, 'seg', tmp_path)
    assert f'backbone and head from {initial_weights._SEGMENTOR} (tensorflow layout)' in facts
    assert cfg.load_from == initial_weights._SEGMENTOR
    cfg.work_dir = str(tmp_path / 'work')
    start = Start(str(addresses[cfg.load_from]))
    start = fit_start(start, cfg, summarise(cfg))
    assert 'classes taken: background' in start.notes[-1]
    assert 'classes that start anew: disc, square, triangle and 1 more' in start.notes[-1]
    state = torch.load(start.checkpoint)['state_dict']
    for name, tensor in segmentor.state_dict().items():
        if 'conv_seg' not in name and not name.endswith('num_batches_tracked'):
            assert torch.equal(state[name], tensor), name
    bias = segmentor.decode_head.conv_seg.bias
    assert state['decode_head.conv_seg.bias'][0] == bias[0]
    assert (state['decode_head.conv_seg.bias'][1:] == 0).all()
    MODELS.build(cfg.model).load_state_dict(state)


def test_weights_that_were_asked_for(sample_dataset, tmp_path):
    import torchvision

    path = tmp_path / 'weights.pth'
    torch.save(torchvision.models.mobilenet_v2().state_dict(), path)
    for task in ('det', 'seg', 'both'):
        cfg, facts = write(sample_dataset, task, tmp_path, pretrained=str(path))
        assert f'backbone from {path} (torchvision layout)' in facts
        backbone = cfg.model.backbone
        assert backbone.init_cfg == dict(type='Pretrained', checkpoint=str(path))
        assert backbone.get('padding', 'symmetric') == 'symmetric'
        assert backbone.norm_cfg.eps == 1e-5
        assert cfg.model.data_preprocessor.mean == [123.675, 116.28, 103.53]
        MODELS.build(cfg.model)
    with pytest.raises(UserError, match=r'its width is 1, and the config is to have 0\.5'):
        write(sample_dataset, 'det', tmp_path, pretrained=str(path), width=0.5)
    with pytest.raises(
        UserError, match=r'--pretrained nowhere\.pth: checkpoint nowhere\.pth does not'
    ):
        write(sample_dataset, 'det', tmp_path, pretrained='nowhere.pth')


def test_from_scratch_where_nothing_can_be_had(sample_dataset, tmp_path):
    cases = {
        'as no trained weights could be fetched: could not download torchvision': {},
        'only width 1 has weights': dict(width=0.5),
        'as --pretrained none asks': dict(pretrained='none'),
    }
    for reason, choices in cases.items():
        for task in ('det', 'seg'):
            cfg, facts = write(sample_dataset, task, tmp_path, **choices)
            (fact,) = [fact for fact in facts if fact.startswith(SCRATCH)]
            assert reason in fact
            assert cfg.model.backbone.init_cfg[0].type == 'Kaiming'
            assert cfg.get('load_from') is None


def own_detector(path, sample_dataset, tmp_path, **choices):
    """Save a detector of a new config as mmengine does, with random weights."""
    cfg, _ = write(sample_dataset, 'det', tmp_path, pretrained='none', **choices)
    model = randomise(MODELS.build(cfg.model), seed=4)
    meta = dict(cfg=cfg.pretty_text, dataset_meta=dict(classes=('star', 'disc', 'moon', 'sun')))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), path)
    return model


def test_a_detector_of_an_earlier_config_is_taken_whole(sample_dataset, tmp_path):
    path = tmp_path / 'earlier.pth'
    model = own_detector(path, sample_dataset, tmp_path)
    cfg, facts = write(sample_dataset, 'det', tmp_path, pretrained=str(path))
    assert f'backbone, neck and head from {path} (mmdet layout)' in facts
    assert (cfg.load_from, cfg.model.backbone.init_cfg) == (str(path), None)
    cfg.work_dir = str(tmp_path / 'work')
    start = fit_start(Start(str(path)), cfg, summarise(cfg))
    assert 'classes taken: disc, star' in start.notes[-1]
    state, own = torch.load(start.checkpoint)['state_dict'], model.state_dict()
    for name, tensor in own.items():
        if not name.startswith('bbox_head.cls_convs.') and 'num_batches' not in name:
            assert torch.equal(state[name], tensor), name
    name = 'bbox_head.cls_convs.0.1.bias'
    ours, theirs = (tensors[name].unflatten(0, (-1, 5)) for tensors in (state, own))
    assert torch.equal(ours[:, [0, 3]], theirs[:, [1, 0]])  # disc and star of either
    assert not torch.equal(ours[:, 1:3], theirs[:, 2:4])
    MODELS.build(cfg.model).load_state_dict(state)


def test_priors_that_match_too_few_boxes_leave_the_backbone(sample_dataset, tmp_path, monkeypatch):
    path = tmp_path / 'earlier.pth'
    with monkeypatch.context() as patch:
        tiny = [[(0.01, 0.01)]] * 4
        patch.setattr('mbv2_backbone.workbench.new_config.fitting.fit_shapes', lambda *a, **k: tiny)
        own_detector(path, sample_dataset, tmp_path)
    cfg, facts = write(sample_dataset, 'det', tmp_path, pretrained=str(path))
    reason = 'its priors match too few of these boxes for its head'
    assert f'backbone from {path} (mmdet layout); {reason}' in facts
    assert cfg.get('load_from') is None
    assert cfg.model.backbone.init_cfg.checkpoint == str(path)
    assert cfg.model.bbox_head.anchor_generator['shapes'] != tiny


def test_other_tasks_take_the_backbone_of_a_detector(sample_dataset, tmp_path):
    path = tmp_path / 'earlier.pth'
    own_detector(path, sample_dataset, tmp_path)
    for task in ('seg', 'both'):
        cfg, facts = write(sample_dataset, task, tmp_path, pretrained=str(path))
        assert f'backbone from {path} (mmdet layout)' in facts
        assert cfg.get('load_from') is None
