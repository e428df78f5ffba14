"""torch.compile takes the networks whole: no graph break, the same numbers."""

import json

import pytest
import torch
from helpers.networks import images, randomise
from helpers.paths import config_path
from measure.speed.inputs import training_batch
from mmengine.config import Config
from mmengine.registry import MODELS

from mbv2_backbone import MobileNetV2Backbone
from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.configs import compiling
from mbv2_backbone.workbench.configs.read import load_config
from mbv2_backbone.workbench.run import train


def compiled(module):
    torch._dynamo.reset()
    return torch.compile(module, backend='aot_eager', fullgraph=True)


@pytest.mark.parametrize(
    'options',
    [
        dict(),
        dict(out_indices=('layer6.expand', 'conv2'), norm_eval=True, frozen_stages=2),
        dict(output_stride=8, padding='same'),
    ],
)
@pytest.mark.parametrize('is_training', [True, False])
def test_the_backbone_is_one_graph(options, is_training):
    backbone = randomise(MobileNetV2Backbone(widen_factor=0.25, **options)).train(is_training)
    x = images(2, 3, 65, 97)
    state = {key: value.clone() for key, value in backbone.state_dict().items()}
    expected = backbone(x)
    expected_state = {key: value.clone() for key, value in backbone.state_dict().items()}
    backbone.load_state_dict(state)
    found = compiled(backbone)(x)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    for key, value in backbone.state_dict().items():
        torch.testing.assert_close(value, expected_state[key])
    if is_training:
        sum(a.sum() for a in found).backward()


@pytest.mark.slow
@pytest.mark.parametrize(
    ('name', 'batch_size'),
    [('ssdlite_mbv2_sample', 2), ('deeplabv3_mbv2_sample', 1), ('deeplabv3_mbv2_sample', 2)],
)
def test_whole_networks_are_one_graph(name, batch_size):
    model = randomise(MODELS.build(load_config(config_path(name)).model)).train()
    x = images(batch_size, 3, 97, 97)
    expected = model._forward(x)
    found = compiled(model._forward)(x)
    if name.startswith('ssdlite'):
        expected, found = (scores + deltas for scores, deltas in (expected, found))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['ssdlite_mbv2_sample', 'deeplabv3_mbv2_sample'])
def test_a_compiled_run_learns_the_same(name, sample_dataset, tmp_path):
    loop = (
        ['max_epochs=1', 'val_interval=9'] if 'ssd' in name else ['max_iters=3', 'val_interval=9']
    )
    options = [
        *(f'train_cfg.{item}' for item in loop),
        'train_dataloader.batch_size=8',
        'train_dataloader.num_workers=0',
        'train_dataloader.persistent_workers=False',
        f'data_root={sample_dataset}/',
        'randomness.seed=1',
        'default_hooks.logger.interval=1',
    ]
    losses = {}
    for compile_option in ('compile=False', 'compile.backend=eager'):
        torch._dynamo.reset()
        work_dir = tmp_path / compile_option
        train(
            config_path(name),
            work_dir=str(work_dir),
            amp=False,
            cfg_options=[*options, compile_option],
        )
        lines = next(work_dir.glob('*/vis_data/scalars.json')).read_text().splitlines()
        losses[compile_option] = [json.loads(line)['loss'] for line in lines if 'loss' in line]
        log = next(work_dir.glob('*/*.log')).read_text()
        assert ('Compiling backbone, ' in log) == (compile_option != 'compile=False')
    eager, compiled_run = losses.values()
    assert len(eager) == 3
    assert compiled_run == pytest.approx(eager, rel=1e-3)


@pytest.mark.parametrize(
    ('name', 'task'), [('ssdlite_mbv2_sample', 'det'), ('deeplabv3_mbv2_sample', 'seg')]
)
def test_each_network_runs_compiled_in_a_training_step(name, task):
    model = MODELS.build(load_config(config_path(name)).model).train()
    graphs = []

    def count(graph, inputs):
        graphs.append(len(inputs))
        return graph.forward

    torch._dynamo.reset()
    names = compiling.compile_networks(model, dict(backend=count, fullgraph=True))
    assert names[0] == 'backbone'
    assert names[-1] == dict(det='bbox_head', seg='decode_head')[task]
    batch = training_batch(batch_size=2, size=(97, 97), num_classes=4, num_seg_classes=5, task=task)
    model(**model.data_preprocessor(batch, True), mode='loss')
    assert len(graphs) == len(names)


def test_a_missing_compiler_is_named(monkeypatch):
    monkeypatch.setenv('CXX', 'no-such-compiler')
    with pytest.raises(UserError, match=r'compile=True needs a C\+\+ compiler'):
        compiling.compile_options(Config(dict(compile=True)))
    options = compiling.compile_options(Config(dict(compile=dict(backend='aot_eager'))))
    assert options == dict(backend='aot_eager', fullgraph=True)
