"""The stand-in for `mmcv._ext`, early imports, bases of the toolboxes, and safe checkpoints."""

import importlib.metadata
import sys
import zipfile
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.paths import ROOT
from helpers.process import run_python
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.logging.history_buffer import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmengine.utils.dl_utils import mmcv_full_available

from mbv2_backbone.compat import packages as compat_packages
from mbv2_backbone.compat import prepare as compat

USE_NMS = """
import torch
from mmdet.models.dense_heads.base_dense_head import batched_nms
boxes = torch.tensor([[0, 0, 4, 4.0], [0, 0, 4, 4.1]])
kept = batched_nms(boxes, torch.tensor([0.5, 0.6]), torch.zeros(2), dict(iou_threshold=0.5))[1]
assert kept.tolist() == [1], kept
"""


def test_the_stand_in_has_a_spec():
    assert Path(find_spec('mmcv._ext').origin) == ROOT / 'mbv2_backbone/compat/mmcv_ext.py'
    assert mmcv_full_available()


def test_prepare_twice_changes_nothing():
    def state():
        from mmengine.config.utils import MODULE2PACKAGE
        from mmengine.utils import get_installed_path

        allowed = set(torch.serialization.get_safe_globals())
        return list(sys.meta_path), dict(MODULE2PACKAGE), get_installed_path, allowed

    before = state()
    compat.prepare()
    assert state() == before


def test_a_compiled_extension_is_used_and_no_toolbox_imported(tmp_path):
    (tmp_path / '_ext.py').write_text('compiled = True')
    run_python(f"""
import sys
import mmcv
mmcv.__path__.append({str(tmp_path)!r})
finders = list(sys.meta_path)
import mbv2_backbone
assert sys.meta_path == finders
loaded = [name for name in sys.modules if name.startswith(('mmdet', 'mmseg', 'mmcv.ops'))]
assert not loaded, loaded
import mmcv._ext
assert mmcv._ext.compiled is True
""")


def test_mmdet_utils_imported_first_as_mmdet_tools_train_does():
    run_python(f'import mmdet.utils, mbv2_backbone, mmdet.models\n{USE_NMS}')


def test_a_failed_import_of_mmdet_models_can_be_repeated():
    run_python(f"""
try:
    import mmdet.models
except ModuleNotFoundError as error:
    assert error.name == 'mmcv._ext'
else:
    raise AssertionError('mmdet.models was expected to fail')
import mbv2_backbone, mmdet.models, mmseg.models
from mmcv.cnn.bricks.transformer import MultiScaleDeformableAttention
from mmseg.models.utils.point_sample import point_sample
assert point_sample is not None
{USE_NMS}
""")


@pytest.fixture
def early_module(tmp_path, monkeypatch):
    """Import code as a module of mmdet while neither mmcv.ops nor the stand-in can be found."""

    def load(code):
        path = tmp_path / 'early.py'
        path.write_text(code)
        spec = spec_from_file_location('mmdet.early', path)
        module = module_from_spec(spec)
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, 'mmcv.ops', None)
            spec.loader.exec_module(module)
        monkeypatch.setitem(sys.modules, 'mmdet.early', module)
        finders = [f for f in sys.meta_path if not isinstance(f, compat._ExtFinder)]
        monkeypatch.setattr(sys, 'meta_path', finders)
        return module

    return load


def test_functions_classes_and_none_are_fixed(early_module):
    module = early_module("""
try:
    from mmcv.ops import RoIPool, nms as my_nms
except ImportError:
    my_nms = None
    class RoIPool:
        pass
try:
    import a_module_that_is_not_there
    from mmdet.apis import inference_detector
except ImportError:
    inference_detector = 'left alone'
""")
    assert module.my_nms is None
    compat.prepare()
    import mmcv.ops

    assert module.my_nms is mmcv.ops.nms
    assert module.RoIPool is mmcv.ops.RoIPool
    assert module.inference_detector == 'left alone'


def test_what_cannot_be_fixed_is_named_every_time(early_module):
    early_module("""
try:
    from mmcv.ops import RoIPool
except ImportError:
    class RoIPool:
        pass
class Head(RoIPool):
    pass
""")
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r'mmdet\.early \(Head.*RoIPool.*custom_imports'):
            compat.prepare()


BASES = (
    'mmdet::_base_/default_runtime.py',
    'mmdet::ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py',
    'mmseg::_base_/default_runtime.py',
    'mmseg::mobilenet_v2/mobilenet-v2-d8_fcn_4xb2-80k_cityscapes-512x1024.py',
)


@pytest.mark.parametrize('base', BASES)
def test_bases_of_the_toolboxes_resolve(base, tmp_path):
    path = tmp_path / 'config.py'
    path.write_text(f'_base_ = {base!r}')
    assert Config.fromfile(path).default_scope == base[:5]


def test_bases_of_the_toolboxes_resolve_without_pkg_resources(tmp_path):
    for index, base in enumerate(BASES):
        (tmp_path / f'{index}_{base[:5]}.py').write_text(f'_base_ = {base!r}')
    run_python(f"""
import sys
sys.modules['pkg_resources'] = None
import mbv2_backbone
from pathlib import Path
from mmengine.config import Config
paths = sorted(Path({str(tmp_path)!r}).glob('*.py'))
assert len(paths) == {len(BASES)}
for path in paths:
    assert Config.fromfile(path).default_scope == path.stem[-5:]
""")


def test_the_installed_path_of_a_package_that_is_not_installed():
    assert not compat_packages.is_installed('no-such-distribution')
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        compat_packages.get_installed_path('no-such-distribution')


class Model(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def forward(self, inputs, mode='tensor'):
        out = self.layer(inputs)
        return {'loss': out.square().mean()} if mode == 'loss' else [out]


class Metric(BaseMetric):
    default_prefix = 'toy'

    def process(self, data_batch, data_samples):
        self.results.append(1)

    def compute_metrics(self, results):
        return {'score': np.float32(len(results)), 'count': np.int64(1), 'mean': np.float64(0.5)}


def make_runner(work_dir, epochs, resume):
    loader = {
        'dataset': torch.utils.data.TensorDataset(torch.randn(4, 2)),
        'batch_size': 2,
        'sampler': {'type': 'DefaultSampler', 'shuffle': False},
        'collate_fn': lambda rows: {'inputs': torch.stack([row[0] for row in rows])},
    }
    return Runner(
        Model(),
        str(work_dir),
        train_dataloader=loader,
        train_cfg={'by_epoch': True, 'max_epochs': epochs},
        val_dataloader=loader,
        val_cfg={},
        val_evaluator=[Metric()],
        optim_wrapper={'optimizer': {'type': 'SGD', 'lr': 0.01, 'momentum': 0.9}},
        default_hooks={
            'checkpoint': {'type': 'CheckpointHook', 'save_best': 'toy/score', 'rule': 'greater'}
        },
        experiment_name=f'{work_dir.name}_{epochs}',
        log_level='ERROR',
        resume=resume,
    )


def test_a_runner_checkpoint_loads_safely_and_resumes(tmp_path, monkeypatch):
    make_runner(tmp_path, 1, resume=False).train()
    checkpoint = tmp_path / 'epoch_1.pth'

    def safe_load(file, *args, weights_only=None, **kwargs):
        assert weights_only is not False
        return original(file, *args, weights_only=True, **kwargs)

    original = torch.load
    monkeypatch.setattr(torch, 'load', safe_load)
    runner = make_runner(tmp_path, 2, resume=True)
    runner.train()
    assert runner.epoch == 2
    # mmengine has loaded by now, and the allowed classes are still allowed.
    loaded = torch.load(checkpoint)
    history = loaded['message_hub']['log_scalars']['train/loss']
    assert len(history.data[0]) == 2
    assert history.statistics('mean') == history.mean()
    assert loaded['message_hub']['runtime_info']['best_score'] == 2

    # As numpy 1 names its functions.
    old = tmp_path / 'numpy1.pth'
    with zipfile.ZipFile(checkpoint) as source, zipfile.ZipFile(old, 'w') as target:
        for name in source.namelist():
            data = source.read(name)
            if name.endswith('data.pkl'):
                assert b'numpy._core.multiarray' in data
                data = data.replace(b'numpy._core.multiarray', b'numpy.core.multiarray')
            target.writestr(name, data)
    assert (
        torch.load(old)['message_hub']['log_scalars'].keys()
        == loaded['message_hub']['log_scalars'].keys()
    )


class Crafted:
    """Pickles to a call of getattr that no HistoryBuffer makes."""

    def __init__(self, owner, name):
        self.call = (getattr, (owner, name))

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(('owner', 'name'), [(HistoryBuffer, 'update'), (np.ndarray, 'max')])
def test_getattr_of_anything_else_is_refused(owner, name, tmp_path):
    torch.save({'crafted': Crafted(owner, name)}, tmp_path / 'crafted.pth')
    with pytest.raises(ValueError, match=f'attribute {name!r}'):
        torch.load(tmp_path / 'crafted.pth', weights_only=True)
