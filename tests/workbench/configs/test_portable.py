"""The recorded config of a run, which the stock tools can read without ours."""

import re

import pytest
from helpers.paths import ROOT
from helpers.resume import toy_config
from mmengine.config import Config
from mmengine.registry import RUNNERS, Registry, root
from mmengine.runner import Runner

from mbv2_backbone.workbench.configs import portable as portable_module
from mbv2_backbone.workbench.configs.machine import detect_machine
from mbv2_backbone.workbench.configs.plan import apply_steps
from mbv2_backbone.workbench.configs.portable import build_runner, portable
from mbv2_backbone.workbench.configs.read import load_config, type_name, walk
from mbv2_backbone.workbench.configs.start import find_start
from mbv2_backbone.workbench.configs.summary import summarise
from mbv2_backbone.workbench.run import training_plan


def planned_and_recorded(path, tmp_path, **flags):
    """Return the planned and the recorded config of a training."""
    loaded = load_config(str(path), work_dir=str(tmp_path))
    machine = detect_machine(**dict(dict(amp=False, channels_last=None), **flags))
    plan = training_plan(summarise(loaded), machine, start=find_start(None, str(tmp_path)))
    planned = apply_steps(loaded, plan)
    return planned, portable(loaded, planned, task=summarise(loaded).task)


def names_of_our_tools():
    """Return all names registered outside the plugin."""
    found = set()
    registries = [value for value in vars(root).values() if isinstance(value, Registry)]
    for registry in registries:
        for key, value in registry.module_dict.items():
            if re.match(r'mbv2_backbone\.(engine|workbench|report|deploy)\b', value.__module__):
                found.add(key)
    return found


@pytest.mark.parametrize(
    'name',
    [
        'ssdlite_mbv2_coco',
        'ssdlite_mbv2_voc0712',
        'deeplabv3_mbv2_cityscapes',
        'ssdlite-deeplabv3_mbv2_sample',
    ],
)
def test_no_recorded_config_needs_our_tools(name, tmp_path):
    config = ROOT / f'configs/{name}.py'
    planned, recorded = planned_and_recorded(config, tmp_path)
    ours = names_of_our_tools()
    used = [{type_name(node) for node in walk(cfg._cfg_dict)} for cfg in (planned, recorded)]
    assert len(used[0] & ours) > 5
    assert not used[1] & ours
    assert 'worker_init_fn' not in recorded.pretty_text
    loaded = load_config(str(config))
    assert set(recorded.custom_imports.imports) == {'mbv2_backbone', *loaded.custom_imports.imports}
    assert recorded.work_dir == planned.work_dir == str(tmp_path)
    assert recorded.val_evaluator == loaded.val_evaluator
    assert recorded.train_dataloader.num_workers == planned.train_dataloader.num_workers
    assert recorded.optim_wrapper.optimizer == planned.optim_wrapper.optimizer


def test_recording_a_recorded_config_changes_nothing(tmp_path):
    config = ROOT / 'configs/deeplabv3_mbv2_sample.py'
    _, first = planned_and_recorded(config, tmp_path)
    first.dump(tmp_path / 'again.py')
    _, second = planned_and_recorded(tmp_path / 'again.py', tmp_path)
    assert second.pretty_text == first.pretty_text


def test_mixed_precision_is_recorded_as_mmengines_where_that_can_run(tmp_path, monkeypatch):
    config = ROOT / 'configs/ssdlite_mbv2_sample.py'
    planned, recorded = planned_and_recorded(config, tmp_path, amp=True)
    assert planned.optim_wrapper.type == 'Bf16OptimWrapper'
    assert recorded.optim_wrapper.type == 'OptimWrapper'
    monkeypatch.setattr(portable_module.torch.cuda, 'is_available', lambda: True)
    wrapper = portable(load_config(str(config)), planned, task='det').optim_wrapper
    assert wrapper.pop('optimizer') == planned.optim_wrapper.optimizer
    wrapper.pop('_scope_', None)
    assert wrapper == dict(type='AmpOptimWrapper', dtype='bfloat16', loss_scale=1.0)


def test_modules_that_only_our_tools_import_are_in_custom_imports(tmp_path):
    import mbv2_backbone.seg.padding  # noqa: F401  (as --tta-scales does)

    path = tmp_path / 'bare.py'
    load_config(str(ROOT / 'configs/deeplabv3_mbv2_sample.py'))  # imports mbv2_backbone.seg
    path.write_text(
        f'_base_ = {str(ROOT / "configs/deeplabv3_mbv2_sample.py")!r}\n'
        "custom_imports = dict(_delete_=True, imports='json')\n"
        "test_pipeline = [dict(type='PadToGrid')]\n"
    )
    _, recorded = planned_and_recorded(path, tmp_path)
    assert recorded.custom_imports == dict(
        imports=['mbv2_backbone', 'json', 'mbv2_backbone.seg', 'mbv2_backbone.seg.padding']
    )


@pytest.mark.parametrize('kind', [None, 'OtherRunner'])
def test_a_runner_records_another_config_than_it_is_built_from(tmp_path, kind):
    @RUNNERS.register_module(force=True)
    class OtherRunner(Runner):
        pass

    planned = toy_config(tmp_path)
    if kind:
        planned.runner_type = kind
    source = tmp_path / 'elsewhere' / 'source.py'
    source.parent.mkdir()
    source.write_text("note = 'what is written'")
    recorded = Config.fromfile(source)
    runner = build_runner(planned, recorded)
    assert isinstance(runner, OtherRunner) == bool(kind)
    assert type_name(runner.model) == 'ToyModel'
    assert (tmp_path / 'source.py').read_text() == "note = 'what is written'\n"
    (config,) = tmp_path.glob('*/vis_data/config.py')
    assert 'ToyModel' not in config.read_text()


def test_two_runs_of_a_process_never_share_a_log_however_fast_they_are(tmp_path):
    runs = []
    for name in ('first', 'second', 'third'):
        cfg = toy_config(tmp_path / name)
        cfg.experiment_name = 'same'
        runs.append(build_runner(cfg, cfg))
        runs[-1].logger.error(f'this is the {name}')
    assert len({run.experiment_name for run in runs}) == 3
    for name in ('first', 'second', 'third'):
        (log,) = (tmp_path / name).glob('*/*.log')
        assert re.findall(r'this is the (\w+)', log.read_text()) == [name]
