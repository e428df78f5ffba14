import ast
import json
import os
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.visualization import Visualizer
from test_compat import ROOT, run_python

from mbv2_backbone import lazy_imports, startup
from mbv2_backbone.compat import FAST_START
from mbv2_backbone.lazy_imports import defer_imports
from mbv2_backbone.startup import lay_out

CONFIG = ROOT / 'configs' / 'ssdlite_mbv2_sample.py'
TRAIN_A_STEP = f"""
import sys
import torch
import mbv2_backbone
from mbv2_backbone.engine.config import load_config
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


ON = {FAST_START: '1'}
# A config tells how the process that reads it was started, and that of a data loader's worker.
PROBE = """
import json
import multiprocessing
import sys

from mmengine.config import Config

look = "__import__('mbv2_backbone') and __import__('sys').meta_path[0].__module__"
pool = multiprocessing.get_context('spawn').Pool(1)
told = [eval(look), pool.apply(eval, (look,)), Config.pretty_text.fget.__module__]
pool.terminate()
print('PROBE', json.dumps([told, [name for name in heavy if name in sys.modules]]), flush=True)
"""
TORCHRUN = ('-m', 'torch.distributed.run', '--nproc_per_node=1', '--standalone')


def probe(folder, *command, **settings):
    """Return what a tool and its worker say of their start, and which heavy modules it loaded."""
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
    (tool, worker, layout), heavy = probe(tmp_path, *command)
    assert tool == worker == lazy_imports.__name__
    assert layout == startup.__name__
    assert not heavy


def test_a_tool_starts_as_the_toolboxes_do_where_that_is_asked_for(tmp_path):
    told, heavy = probe(tmp_path, ROOT / 'tools/train.py', **{FAST_START: '0'})
    assert not any('mbv2_backbone' in module for module in told)
    assert 'torch.distributed.fsdp' in heavy


def test_a_training_step_loads_nothing_heavy_and_all_of_it_works_when_used():
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

picture = np.zeros((40, 60, 3), np.uint8)
visualizer.set_image(picture)
visualizer.draw_bboxes(torch.tensor([[5, 5, 30, 30]]))
assert visualizer.get_image().shape == picture.shape and visualizer.get_image().any()
import matplotlib.axes
assert isinstance(visualizer.ax_save._make()[2], matplotlib.axes.Axes)
""",
        **ON,
    )


def test_training_steps_are_those_of_torch_before_and_after_the_compiler_loads():
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


@pytest.mark.parametrize(
    ('code', 'is_deferred'),
    [
        ('import scipy\ndef use(): return scipy.pi', True),
        ('import scipy.special as s\nclass A:\n  def use(self): return [s for _ in (1,)]', True),
        ('from scipy import pi as p, e\ndef use(): return (lambda: p + e)()', True),
        ('try:\n  import scipy\n  ok = True\nexcept ImportError: ok = False\ndef f(): ok', True),
        ('if True:\n  import scipy\nelse:\n  import json\ndef use(): return scipy', True),
        ('"""Text."""\nfrom __future__ import annotations\nimport scipy\ndef f(): scipy', True),
        ('import scipy\nclass A(scipy.Base): pass', False),
        ('import scipy\ndef use(x=scipy.pi): pass', False),
        ('import scipy\n@scipy.wrap\ndef use(): pass', False),
        ('import scipy\ndef use():\n  global scipy', False),
        (
            'try:\n  import scipy\nexcept ImportError: ok = False\nif not ok: raise ValueError',
            False,
        ),
        ('import scipyx\ndef use(): return scipyx', False),
        ('from scipy import *', False),
        ('def __getattr__(name): pass\nimport scipy', False),
        ('', False),
    ],
)
def test_imports_are_deferred_unless_needed_at_once(code, is_deferred):
    tree = ast.parse(code)
    defer_imports(tree, 'mmdet')
    assert ('__load_deferred__' in ast.unparse(tree)) == is_deferred
    left = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Import)]
    now = [node for node in ast.walk(tree) if isinstance(node, ast.Import)]
    assert len(now) == len(left)


@pytest.fixture
def toolbox(tmp_path, monkeypatch):
    """Run code as a file of a toolbox is run, beside a package `shapely` that is not loaded yet."""
    (tmp_path / 'shapely.py').write_text('class Base: pass\ndef double(x): return 2 * x\n')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, 'shapely', raising=False)

    def load(code):
        tree = ast.parse(code)
        defer_imports(tree, '')
        scope = {'__name__': 'toolbox_module'}
        exec(compile(tree, 'toolbox_module.py', 'exec'), scope)
        return scope

    return load


def test_deferred_names_are_the_real_ones_and_can_be_replaced(toolbox):
    scope = toolbox("""
from shapely import Base, double
import json
class Tool:
    '''Text.'''
    def use(self, x):
        '''Text.'''
        def inner():
            return double(x)
        return inner()
""")
    assert 'shapely' not in sys.modules
    assert scope['Tool'].use.__doc__ == 'Text.'
    assert scope['Tool']().use(3) == 6
    import shapely

    assert scope['__getattr__']('Base') is shapely.Base
    scope['double'] = str
    assert scope['Tool']().use(3) == '3'
    with pytest.raises(AttributeError, match=r'toolbox_module.*absent'):
        scope['__getattr__']('absent')


def test_a_missing_package_is_reported_on_use_or_handled_as_before(toolbox):
    scope = toolbox("""
try:
    from shapely import absent
except ImportError:
    absent = None
from timm.nothing_there import thing
def use(): return absent
def fail(): return thing
""")
    with pytest.raises(ModuleNotFoundError, match=r'nothing_there|timm'):
        scope['fail']()


def random_value(rng, depth):
    kind = rng.choice(['number', 'text', 'none'] + ['dict', 'list', 'tuple', 'plain'] * (depth > 0))
    if kind == 'number':
        return rng.choice([rng.random(), rng.randrange(10**6), -1, True, float('inf')])
    if kind == 'text':
        return ''.join(rng.choices('ab \'"\\\né', k=rng.randrange(30)))
    if kind == 'none':
        return None
    items = [random_value(rng, depth - 1) for _ in range(rng.randrange(6))]
    if kind in ('list', 'tuple'):
        return items if kind == 'list' else tuple(items)
    return {f'key{i}' if kind == 'dict' else f'key {i}': item for i, item in enumerate(items)}


@pytest.mark.parametrize('seed', range(5))
def test_configs_are_laid_out_without_a_change_of_meaning(seed, tmp_path):
    rng = random.Random(seed)
    values = {f'setting_{i}': random_value(rng, 4) for i in range(8)}
    values = {k: v for k, v in values.items() if 'inf' not in repr(v)}
    config = Config(values)
    config.dump(tmp_path / 'config.py')
    assert Config.fromfile(tmp_path / 'config.py').to_dict() == config.to_dict()
    text = config.pretty_text
    assert lay_out(text) == text
    for line in text.splitlines():
        if not {"'", '"'} & set(line) and line.endswith((',', ')', ']', '}')):
            assert len(line) <= 80, line


def test_a_config_has_one_item_a_line_where_it_does_not_fit():
    code = f'a = dict(b=[{", ".join(["100000"] * 12)}], c=dict(d=1))\n'
    items = '        100000,\n' * 12
    assert lay_out(code) == f'a = dict(\n    b=[\n{items}    ],\n    c=dict(d=1),\n)\n'
    assert lay_out('a = dict()\n') == 'a = dict()\n'


def test_a_visualizer_knows_its_resolution_before_it_draws():
    import matplotlib

    visualizer = Visualizer(fig_save_cfg={'frameon': False, 'dpi': 50})
    assert visualizer.dpi == 50
    assert Visualizer().dpi == matplotlib.rcParams['figure.dpi']
    visualizer.set_image(np.full((7, 9, 3), 200, np.uint8))
    visualizer.draw_points(torch.tensor([[4.0, 3.0]]).numpy())
    assert visualizer.get_image().shape == (7, 9, 3)
