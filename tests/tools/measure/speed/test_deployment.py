"""Exported files beside the toolbox: size, load time, latency by threads, accuracy."""

import os
from pathlib import Path

import pytest
from helpers.bench import arguments
from helpers.deploy import DETECTION, write_config
from measure.speed.deployment import deployment_table
from measure.speed.work import WORK

from mbv2_backbone.workbench.configs.read import load_config
from mbv2_backbone.workbench.configs.summary import summarise
from mbv2_backbone.workbench.export.export import export
from mbv2_backbone.workbench.export.measure import evaluate_exported

pytestmark = pytest.mark.runtime


def test_files_are_measured_under_each_runtime_and_thread_count(sample_dataset, tmp_path):
    config, checkpoint, options = write_config(
        tmp_path, DETECTION, 'ssdlite_mbv2_sample', sample_dataset
    )
    path = export(
        config, checkpoint, to='onnx', out=str(tmp_path), num_images=2, cfg_options=options
    ).path
    page = tmp_path / 'page.md'
    mark = f'deploy-{Path(config).stem}'
    page.write_text(f'Before\n<!-- {mark}:begin -->\nreplaced\n<!-- {mark}:end -->\nafter\n')
    args = arguments(
        'deploy', 'ssdlite_mbv2_sample', exported=[path], thread_counts=[1, 2], into=str(page),
        size=None, peer=['mmdet'],
    )  # fmt: skip
    args.config, args.cfg_options = str(config), options
    (result,) = WORK['deploy'](args)
    rows = {row['name']: row for row in result['rows']}
    name = os.path.basename(path)
    files = {f'{name}, onnxruntime', f'{name}, openvino'}
    assert set(rows) == files | {'ours, folded', 'ours, eager', 'mmdet'}
    cfg = load_config(config, options)
    expected = evaluate_exported(cfg, summarise(cfg), path)['coco/bbox_mAP']
    for row in rows.values():
        assert list(row['latency']) == ['1', '2']
        for measured in row['latency'].values():
            times = measured['milliseconds']
            assert 0 < times['q1'] <= times['median'] <= times['q3']
    for file in files:
        assert rows[file]['megabytes'] == os.path.getsize(path) / 1e6
        assert rows[file]['load_ms'] > 0
        assert rows[file]['bbox_mAP'] == pytest.approx(100 * expected)
    assert rows['mmdet']['latency']['2']['times_as_fast']['median'] == 1
    assert 'the models that run in PyTorch have random weights' in result['notes'][0]
    assert 'each of them is set to' in result['notes'][1]
    text = page.read_text()
    assert text.startswith('Before\n')
    assert text.endswith('after\n')
    assert 'replaced' not in text
    assert deployment_table(result) in text
    assert f'| {name}, openvino | {os.path.getsize(path) / 1e6:.2f} |' in text
