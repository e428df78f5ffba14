import numpy as np
import torch
from helpers.paths import ROOT
from helpers.process import run_python
from mmengine.visualization import Visualizer

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
)  # fmt: skip


def test_a_training_step_loads_nothing_heavy_and_all_of_it_works_when_used():
    run_python(f"""
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

picture = np.zeros((40, 60, 3), np.uint8)
visualizer.set_image(picture)
visualizer.draw_bboxes(torch.tensor([[5, 5, 30, 30]]))
assert visualizer.get_image().shape == picture.shape and visualizer.get_image().any()
import matplotlib.axes
assert isinstance(visualizer.ax_save._make()[2], matplotlib.axes.Axes)
""")


def test_what_is_switched_off_stays_as_it_was(monkeypatch):
    monkeypatch.setenv('MBV2_BACKBONE_FAST_START', '0')
    run_python("""
import sys, mbv2_backbone, mmengine.optim
assert 'torch.distributed.optim' in sys.modules
""")


def test_training_steps_are_those_of_torch_before_and_after_the_compiler_loads():
    run_python("""
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
""")


def test_a_visualizer_knows_its_resolution_before_it_draws():
    import matplotlib

    visualizer = Visualizer(fig_save_cfg={'frameon': False, 'dpi': 50})
    assert visualizer.dpi == 50
    assert Visualizer().dpi == matplotlib.rcParams['figure.dpi']
    visualizer.set_image(np.full((7, 9, 3), 200, np.uint8))
    visualizer.draw_points(torch.tensor([[4.0, 3.0]]).numpy())
    assert visualizer.get_image().shape == (7, 9, 3)
