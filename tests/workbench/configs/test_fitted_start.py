"""A training starts from a whole model of TensorFlow, or of other classes."""

import pytest
import torch
from helpers.networks import randomise
from helpers.paths import ROOT
from helpers.small import tool
from helpers.tensorflow import detector_variables, write_graph
from mmengine.registry import MODELS

from mbv2_backbone.weights import load_into
from mbv2_backbone.workbench.configs.fitted_start import fit_start
from mbv2_backbone.workbench.configs.read import load_config
from mbv2_backbone.workbench.configs.start import Start
from mbv2_backbone.workbench.configs.summary import summarise

CLASSES = ('disc', 'square', 'triangle', 'star')
CONFIG = """
_base_ = {base!r}
data_root = {data!r}
classes = {classes!r}
load_from = {weights!r}
model = dict(bbox_head=dict(num_classes=4))
images = dict(data_root=data_root, data_prefix=dict(img='JPEGImages/'), indices=8)
loader = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(
    batch_size=4,
    **loader,
    dataset=dict(times=1, dataset=dict(ann_file='annotations/train.json', **images)),
)
val_dataloader = dict(
    batch_size=4, **loader, dataset=dict(ann_file='annotations/val.json', **images)
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/val.json')
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=1)
randomness = dict(seed=0)
optim_wrapper = dict(optimizer=dict(lr=1e-4))
default_hooks = dict(checkpoint=dict(interval=1))
"""


@pytest.fixture(scope='module')
def graph(tmp_path_factory):
    cfg = load_config(str(ROOT / 'configs/ssdlite_mbv2_coco_tf.py'))
    model = randomise(MODELS.build(cfg.model), seed=9)
    return write_graph(detector_variables(model), tmp_path_factory.mktemp('tf') / 'graph.pb')


def write_config(folder, dataset, weights):
    path = folder / 'config.py'
    path.write_text(
        CONFIG.format(
            base=str(ROOT / 'configs/ssdlite_mbv2_coco_tf.py'),
            data=f'{dataset}/',
            classes=CLASSES,
            weights=str(weights),
        )
    )
    return path


@pytest.mark.slow
def test_two_steps_from_a_frozen_graph_and_on_from_them(graph, sample_dataset, tmp_path):
    config = write_config(tmp_path, sample_dataset, graph)
    work_dir = tmp_path / 'run'
    done = tool('train', config, '--work-dir', work_dir)
    assert done.returncode == 0, done.stderr[-3000:]
    text = done.stdout + done.stderr
    assert 'classes that start anew: disc, square, triangle and 1 more' in text
    trained = work_dir / 'epoch_1.pth'
    state = torch.load(trained, weights_only=False)['state_dict']
    assert all(torch.isfinite(tensor).all() for tensor in state.values())
    began = torch.load(work_dir / 'start.pth')['state_dict']
    key = 'bbox_head.reg_convs.2.1.weight'
    assert not torch.equal(state[key], began[key])
    assert (state[key] - began[key]).abs().mean() < 0.1 * began[key].abs().mean()
    new = tmp_path / 'new.py'
    args = ('--data', sample_dataset, '--task', 'det', '--size', 96, '--pretrained', trained)
    done = tool('new_config', *args, '--out', new)
    assert done.returncode == 0, done.stderr[-3000:]
    backbone = load_config(str(new)).model.backbone
    assert (backbone.padding, backbone.norm_cfg.eps) == ('same', 0.001)
    model = MODELS.build(load_config(str(new)).model)
    assert load_into(model.backbone, trained).filled == len(model.backbone.state_dict())


def test_several_processes_write_the_same_start(graph, sample_dataset, tmp_path):
    cfg = load_config(str(write_config(tmp_path, sample_dataset, graph)))
    files = []
    for rank in range(2):
        torch.manual_seed(rank)
        cfg.work_dir = str(tmp_path / f'rank{rank}')
        before = torch.get_rng_state()
        files.append(fit_start(Start(cfg.load_from), cfg, summarise(cfg)).checkpoint)
        assert torch.equal(torch.get_rng_state(), before)
    first, second = (torch.load(file)['state_dict'] for file in files)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_checkpoint_of_the_same_classes_is_left_alone(sample_dataset, tmp_path):
    cfg = load_config(str(write_config(tmp_path, sample_dataset, 'none')))
    model = MODELS.build(cfg.model)
    path = tmp_path / 'same.pth'
    torch.save(dict(state_dict=model.state_dict()), path)
    start = Start(str(path))
    assert fit_start(start, cfg, summarise(cfg)) is start
    resumed = Start(str(path), is_resumed=True)
    assert fit_start(resumed, cfg, summarise(cfg)) is resumed
    assert fit_start(Start(), cfg, summarise(cfg)) == Start()


def test_values_that_are_not_finite_are_refused(graph, sample_dataset, tmp_path):
    cfg = load_config(str(write_config(tmp_path, sample_dataset, graph)))
    model = MODELS.build(cfg.model)
    broken = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    broken['neck.extra_layers.0.0.conv.weight'][0] = torch.nan
    before = model.backbone.conv1.conv.weight.clone()
    broken['backbone.conv1.conv.weight'] += 1
    with pytest.raises(ValueError, match='1 tensors hold NaN or infinity: neck'):
        load_into(model, dict(state_dict=broken), classes=CLASSES)
    assert torch.equal(model.backbone.conv1.conv.weight, before)
