"""The fast start of the tools: what is loaded late, and that all of it still works."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from helpers.paths import ROOT
from helpers.process import run_python
from mmengine.visualization import Visualizer

from mbv2_backbone.compat import fast_start, lazy_imports
from mbv2_backbone.compat.prepare import FAST_START

CONFIG = ROOT / 'configs' / 'ssdlite_mbv2_sample.py'
TRAIN_A_STEP = f"""
import sys
import torch
import mbv2_backbone
from mbv2_backbone.workbench.configs.read import load_config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import VISUALIZERS
from mmdet.registry import DATASETS, MODELS, TRANSFORMS
cfg = load_config({str(CONFIG)!r})
model = MODELS.build(cfg.model)
pipeline = [TRANSFORMS.build(step) for step in cfg.train_pipeline]
assert DATASETS.get('CocoDataset') is not None
visualizer = VISUALIZERS.build(cfg.visualizer)
wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
wrapper.update_params(sum(p.sum() for p in model.parameters()))
"""
HEAVY = (
    'imgaug', 'matplotlib', 'numba', 'pandas', 'scipy', 'shapely', 'skimage', 'sklearn', 'sympy',
    'torch._dynamo', 'torch.distributed.fsdp', 'torch.distributed.tensor', 'transformers', 'mmseg',
    'yapf',
)  # fmt: skip


ON = {FAST_START: '1'}
# A config that records how its process was started, and how a loader worker was.
PROBE = """
import gc
import json
import multiprocessing
import sys

from mmengine.config import Config

look = "__import__('mbv2_backbone') and __import__('sys').meta_path[0].__module__"
pool = multiprocessing.get_context('spawn').Pool(1)
told = [eval(look), pool.apply(eval, (look,)), Config.pretty_text.fget.__module__]
pool.terminate()
told.append(gc.isenabled())
print('PROBE', json.dumps([told, [name for name in heavy if name in sys.modules]]), flush=True)
"""
TORCHRUN = ('-m', 'torch.distributed.run', '--nproc_per_node=1', '--standalone')


def probe(folder, *command, **settings):
    """Return how a tool and its loader worker started, and which heavy modules it loaded."""
    config = folder / 'probe.py'
    config.write_text(f'heavy = {HEAVY}\n{PROBE}')
    env = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1') | settings
    if not settings:
        del env[FAST_START]
    done = subprocess.run(
        [sys.executable, *map(str, command), str(config)],
        cwd=folder, env=env, capture_output=True, text=True,
    )  # fmt: skip
    (line,) = [row for row in done.stdout.splitlines() if row.startswith('PROBE ')] or [done.stderr]
    return json.loads(line.removeprefix('PROBE '))


@pytest.mark.parametrize(
    'command',
    [
        (ROOT / 'tools/train.py',),
        (ROOT / 'tools/doctor.py',),
        ('-m', 'mbv2_backbone', 'train'),
        (*TORCHRUN, ROOT / 'tools/train.py'),
    ],
    ids=['tool', 'doctor', 'module', 'torchrun'],
)
def test_the_processes_of_our_tools_start_fast(command, tmp_path):
    (tool, worker, layout, collects), heavy = probe(tmp_path, *command)
    assert tool == worker == lazy_imports.__name__
    assert layout == fast_start.__name__
    assert collects, 'garbage is collected again once the package is imported'
    assert not heavy


def test_the_fast_start_can_be_turned_off(tmp_path):
    told, heavy = probe(tmp_path, ROOT / 'tools/train.py', **{FAST_START: '0'})
    assert not any('mbv2_backbone' in module for module in told[:3])
    assert 'torch.distributed.fsdp' in heavy


def test_a_training_step_loads_nothing_heavy_and_everything_works_when_used():
    run_python(
        f"""
{TRAIN_A_STEP}
loaded = [name for name in {HEAVY} if name in sys.modules]
assert not loaded, loaded

import numpy as np
from mmengine.registry import MODEL_WRAPPERS, OPTIMIZERS, RUNNERS
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.distributed.fsdp import FullyShardedDataParallel
import mmengine.optim, mmengine.model, mmengine.runner
for registry, name, module, base in (
    (OPTIMIZERS, 'ZeroRedundancyOptimizer', mmengine.optim, ZeroRedundancyOptimizer),
    (MODEL_WRAPPERS, 'MMFullyShardedDataParallel', mmengine.model, FullyShardedDataParallel),
    (RUNNERS, 'FlexibleRunner', mmengine.runner, object),
):
    kind = registry.get(name)
    assert issubclass(kind, base) and kind is getattr(module, name), name

from mmdet.registry import TASK_UTILS
from mmdet.structures.mask import PolygonMasks
import scipy.optimize
import mmdet.models.task_modules.assigners.hungarian_assigner as hungarian
assert hungarian.linear_sum_assignment is scipy.optimize.linear_sum_assignment
from importlib.util import find_spec
if find_spec('sklearn'):
    tracks = np.array([[t, 1, 5.0 + t, 5, 9 + t, 9, 1] for t in (0, 1, 4)])
    interpolate = dict(type='InterpolateTracklets', min_num_frames=1, use_gsi=True)
    assert len(TASK_UTILS.build(interpolate).forward(tracks)) == 5
    assert 'sklearn.gaussian_process' in sys.modules

image = np.zeros((40, 60, 3), np.uint8)
visualizer.set_image(image)
visualizer.draw_bboxes(torch.tensor([[5, 5, 30, 30]]))
assert visualizer.get_image().shape == image.shape and visualizer.get_image().any()
import matplotlib.axes
assert isinstance(visualizer.ax_save._make()[2], matplotlib.axes.Axes)
""",
        **ON,
    )


def test_training_steps_equal_torchs_before_and_after_the_compiler_loads():
    run_python(
        """
import importlib, sys, torch
def train(steps, make):
    torch.manual_seed(0)
    layer = torch.nn.Linear(3, 2)
    optimizer = make(layer.parameters())
    for step in range(steps):
        if step == load_at:
            importlib.import_module('torch._dynamo')
        optimizer.zero_grad()
        layer(torch.ones(4, 3)).square().sum().backward()
        optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())
    assert torch.is_grad_enabled()
    return layer.weight.detach()
makers = [
    lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.1),
    lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
]
import mbv2_backbone
load_at = None
light = [train(4, make) for make in makers]
assert 'torch._dynamo' not in sys.modules
load_at = 2
mixed = [train(4, make) for make in makers]
assert 'torch._dynamo' in sys.modules
full = [train(4, make) for make in makers]
for a, b, c in zip(light, mixed, full):
    assert torch.equal(a, b) and torch.equal(a, c)
for name in ('add_param_group', 'zero_grad'):
    function = getattr(torch.optim.Optimizer, name).__wrapped__
    assert getattr(function, '__dynamo_disable')._torchdynamo_disable, name
""",
        **ON,
    )


def test_base_configs_are_read_without_the_metafiles_that_other_configs_need():
    run_python(
        """
import mbv2_backbone
from mmengine.config import Config, utils

read = []
load = utils.load
utils.load = lambda path: read.append(str(path)) or load(path)
base, scope = Config._get_cfg_path('mmdet::_base_/default_runtime.py', '')
assert scope == 'mmdet' and Config.fromfile(base).default_scope == 'mmdet'
assert not read, read
other, _ = Config._get_cfg_path('mmdet::ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py', '')
assert Config.fromfile(other).model.type == 'SingleStageDetector'
assert read
""",
        **ON,
    )


def test_a_dataset_collects_little_and_keeps_nothing_that_was_there_before_it():
    run_python(
        """
import gc, weakref, mbv2_backbone
from mmengine.dataset import BaseDataset

class Rows(BaseDataset):
    def load_data_list(self):
        return [dict(row=i) for i in range(3)]

class Model:
    pass

model = Model()
model.itself, kept = model, weakref.ref(model)
gc.disable()
collected = []
gc.callbacks.append(lambda phase, info: collected.append((phase, info['generation'])))
rows = Rows()
gc.callbacks.clear()
assert collected == [('start', 0), ('stop', 0)], collected
assert [rows.get_data_info(i)['row'] for i in range(3)] == [0, 1, 2]
del model
gc.collect()
assert kept() is None
""",
        **ON,
    )


def test_a_config_is_written_without_yapf_which_stays_what_it_is_for_others():
    run_python(
        """
import sys, mbv2_backbone
from mmengine.config import Config
cfg = Config(dict(a=dict(b=(1, 2)), c='text'))
text = cfg.pretty_text
assert not [name for name in sys.modules if name.startswith('yapf')]
from yapf.yapflib.yapf_api import FormatCode
assert FormatCode('a = {  }')[0].strip() == 'a = {}'
assert cfg.pretty_text == text and Config.fromstring(text, '.py').to_dict() == cfg.to_dict()
assert sys.modules['yapf.yapflib.yapf_api'].FormatCode is FormatCode
""",
        **ON,
    )


def test_a_visualizer_has_its_resolution_before_it_draws():
    import matplotlib

    visualizer = Visualizer(fig_save_cfg={'frameon': False, 'dpi': 50})
    assert visualizer.dpi == 50
    assert Visualizer().dpi == matplotlib.rcParams['figure.dpi']
    visualizer.set_image(np.full((7, 9, 3), 200, np.uint8))
    visualizer.draw_points(torch.tensor([[4.0, 3.0]]).numpy())
    assert visualizer.get_image().shape == (7, 9, 3)
