"""ncnn's files, run and refused."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.deploy import SEGMENTATION, random_images, write_config

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.deploy import Predictor
from mbv2_backbone.deploy.runtimes import load_runtime
from mbv2_backbone.workbench.export.export import export

pytestmark = pytest.mark.runtime


@pytest.fixture(scope='module')
def path(sample_dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp('ncnn')
    model = write_config(folder, SEGMENTATION, 'deeplabv3_mbv2_sample', sample_dataset)
    config, checkpoint, options = model
    result = export(
        config, checkpoint, to='ncnn', out=str(folder / 'out'), size=(97, 129), num_images=2,
        cfg_options=options,
    )  # fmt: skip
    assert result.problems() == []
    names = sorted(file.suffix for file in (folder / 'out').iterdir())
    assert names == ['.bin', '.json', '.param']
    return Path(result.path)


def test_only_the_wanted_outputs_are_computed(path):
    runtime = load_runtime(str(path), threads=1)
    image = random_images(1, (97, 129))
    assert list(runtime(image, ['mask'])) == ['mask']
    found = runtime(image, ['mask', 'logits'])
    assert found['logits'].shape == (1, 5, 97, 129)
    assert found['mask'].shape == (1, 97, 129)
    assert np.array_equal(found['mask'], found['logits'].argmax(1))


def test_the_threads_are_ncnns(path):
    import ncnn

    from mbv2_backbone.deploy.ncnn_runtime import open_net

    assert open_net(ncnn, str(path), 3).opt.num_threads == 3


def test_threads_do_not_change_the_result(path):
    image = random_images(1, (150, 200))[0]
    one, two = (Predictor(path, threads=threads)(image).mask for threads in (1, 2))
    assert np.mean(one == two) > 0.999


@pytest.mark.parametrize(
    ('suffix', 'message'), [('.bin', r'weights in .*\.bin'), ('.json', 'next to it')]
)
def test_a_missing_part_is_named(path, tmp_path, suffix, message):
    copy = Path(shutil.copytree(path.parent, tmp_path / 'copy'), path.name)
    copy.with_suffix(suffix).unlink()
    with pytest.raises(UserError, match=message):
        Predictor(copy)


def test_without_ncnn_the_message_says_what_to_install(path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'ncnn', None)
    with pytest.raises(UserError, match='pip install ncnn'):
        Predictor(path)
