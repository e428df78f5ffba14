"""`data check` and the doctor name ids and gaps that other evaluators misread."""

import json

import pytest
from helpers.check import texts
from helpers.dataset import write_coco
from helpers.small import write_small_config

from mbv2_backbone.workbench.data.check.check import check_config, check_folder
from mbv2_backbone.workbench.data.conversion import convert
from mbv2_backbone.workbench.doctor.examine import examine_config

SAID = (
    'annotation ids are not whole numbers from 1 to 2^53',
    'annotations have no area',
    'iscrowd',
)


def test_a_folder_and_its_conversion(tmp_path):
    write_coco(tmp_path / 'in')
    warnings = texts(check_folder(tmp_path / 'in'), 'warning')
    assert all(warnings.count(said) == 2 for said in SAID)  # of the two files
    assert 'instances_val2017.json' in warnings
    assert 'tools/data.py convert IN OUT --to coco' in warnings
    convert(tmp_path / 'in', tmp_path / 'out', to='coco')
    assert not any(said in texts(check_folder(tmp_path / 'out'), 'warning') for said in SAID)


@pytest.fixture
def config(sample_dataset, tmp_path):
    """A config whose validation file has text as ids, and no areas."""
    data = json.loads((sample_dataset / 'annotations/val.json').read_text())
    for row in data['annotations']:
        row['id'] = f'object {row["id"]}'
        del row['area'], row['iscrowd']
    path = tmp_path / 'odd_check.json'
    path.write_text(json.dumps(data))
    more = f"val_dataloader['dataset']['ann_file'] = {str(path)!r}"
    return write_small_config(tmp_path / 'odd.py', sample_dataset, more)


def test_a_config(config):
    report = check_config(str(config))
    assert not report.stops_training, str(report)
    warnings = texts(report, 'warning')
    assert all(warnings.count(said) == 1 for said in SAID)
    assert 'val: ' in warnings
    assert 'odd_check.json' in warnings


def test_the_doctor(config):
    found = next(finding for finding in examine_config(str(config)) if SAID[0] in finding.what)
    assert found.level == 'warning'
    assert 'docs/training.md' in found.fix
