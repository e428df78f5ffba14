"""An export that finds no space, or no folder, leaves nothing behind and says so in one message."""

import resource
import shutil
import subprocess

import pytest
from helpers.deploy import DETECTION, write_config

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.export.export import export

pytestmark = pytest.mark.runtime
FORMATS = ('onnx', 'openvino', 'torch-export', 'ncnn', 'coreml', 'web-file')


@pytest.fixture(scope='module')
def model(sample_dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp('no_space')
    return write_config(folder, DETECTION, 'ssdlite_mbv2_sample', sample_dataset)


@pytest.fixture
def full_disk(tmp_path):
    """Return the mount point of a file system of 1 MB."""
    place = tmp_path / 'disk'
    place.mkdir()
    mount = ['mount', '-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', str(place)]
    if shutil.which('mount') is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip('a file system can be mounted by root on Linux alone')
    yield place
    subprocess.run(['umount', str(place)], check=True)


@pytest.mark.parametrize('to', FORMATS)
def test_without_space_there_is_one_message_and_nothing_else(model, full_disk, to):
    # pnnx ends the whole process where it finds no space, so that it must not come to that.
    config, checkpoint, options = model
    with pytest.raises(UserError, match=r'disk.* has 1\.0 MB left, .* needs about [1-9]\d* MB'):
        export(config, checkpoint, to=to, out=str(full_disk / 'out'), num_images=1,
               cfg_options=options)  # fmt: skip
    assert list((full_disk / 'out').iterdir()) == []


@pytest.fixture
def _small_files():
    """Let no file grow beyond 100 kB, as if others had filled the disk; the model is larger."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures('_small_files')
def test_space_that_ends_meanwhile_is_named(model, tmp_path):
    config, checkpoint, options = model
    with pytest.raises(UserError, match=r'cannot write .*free some space'):
        export(config, checkpoint, to='onnx', out=str(tmp_path / 'out'), num_images=1,
               cfg_options=options)  # fmt: skip
    assert list((tmp_path / 'out').iterdir()) == []


@pytest.mark.parametrize('to', ['onnx', 'coreml'])
def test_a_file_in_the_place_of_the_folder_is_named(model, tmp_path, to):
    config, checkpoint, options = model
    (tmp_path / 'out').write_text('taken')
    with pytest.raises(UserError, match=r'cannot write to the folder .*out.*--out'):
        export(config, checkpoint, to=to, out=str(tmp_path / 'out'), num_images=1,
               cfg_options=options)  # fmt: skip
    assert (tmp_path / 'out').read_text() == 'taken'
