"""Every command of the README and of docs/training.md, in their order, in a copy of the repository.

Downloads come from a server on this machine, datasets are small, and a training is stopped by
SIGTERM as soon as the files that the next command needs exist.
"""

import configparser
import dataclasses
import os
import pickle
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from helpers.fetch import Site, small_catalogue
from helpers.paths import ROOT
from torchvision.models import MobileNet_V2_Weights, mobilenet_v2

from mbv2_backbone.workbench.data.conversion import convert
from mbv2_backbone.workbench.data.public.catalogue import CATALOGUE
from mbv2_backbone.workbench.data.sample.sample import generate_sample

LIMIT = 600  # seconds per command
ACCURACIES = {
    'ssdlite_mbv2_bccd_plus': '0.547',
    'ssdlite_mmdet_bccd': '0.282',
    'ssdlite_torchvision_bccd': '0.435',
    'ssdlite_bccd_pretrained': '0.590',
    'ssdlite_mmdet_bccd_pretrained': '0.389',
    'ssdlite_bccd_detector': '0.602',
    'ssdlite_bccd_detector_8-passes': '0.562',
    'deeplabv3_mbv2_camvid_plus': '49.6',
    'deeplabv3_mmseg_camvid': '2.7',
}


def commands_of(name):
    text = (ROOT / name).read_text(encoding='utf-8')
    found = re.findall(r'^```sh\n(.*?)^```|`(python tools/[^`…]+)`', text, re.DOTALL | re.MULTILINE)
    lines = [line for block, inline in found for line in (block or inline).splitlines()]
    return list(dict.fromkeys(filter(None, (line.split('  #')[0].strip() for line in lines))))


COMMANDS = list(dict.fromkeys(commands_of('README.md') + commands_of('docs/training.md')))
TOOLS = [c for c in COMMANDS if c.startswith(('python tools/', 'torchrun '))]
INSTALLS = [c for c in COMMANDS if c.startswith('pip install')]
FETCHED = re.findall(r'^python tools/data\.py fetch (\w+)$', '\n'.join(COMMANDS), re.MULTILINE)


def test_every_command_is_of_a_known_kind():
    venv = 'python3 -m venv .venv && . .venv/bin/activate'
    assert set(COMMANDS) == {*TOOLS, *INSTALLS, venv, 'make demo', 'make test'}
    assert TOOLS
    ci = (ROOT / '.ci' / 'run').read_text(encoding='utf-8')
    (made,) = re.findall(r'^make (lint .*)$', ci, re.MULTILINE)
    assert {'test', 'demo', 'slow'} <= set(made.split())
    assert set(FETCHED) == set(CATALOGUE)


def test_every_config_is_in_the_readme():
    text = (ROOT / 'README.md').read_text(encoding='utf-8')
    named = set(re.findall(r'`(\w[\w-]*\.py)`', text))
    assert {path.name for path in (ROOT / 'configs').glob('*.py')} <= named


def test_the_accuracies_are_those_of_the_records():
    readme = (ROOT / 'README.md').read_text(encoding='utf-8')
    records = (ROOT / 'docs' / 'accuracy.md').read_text(encoding='utf-8')
    for run, figure in ACCURACIES.items():
        assert f'| {run} | 2 | {figure} (' in records, run
        assert re.search(rf'\b{figure}\b', readme), run


def test_what_is_installed_is_what_ci_installs():
    makefile = (ROOT / 'Makefile').read_text(encoding='utf-8')
    assert "$(INSTALL) -e '.[openmmlab]'" in makefile
    assert '-c constraints.txt' in makefile
    extras = configparser.ConfigParser()
    extras.read(ROOT / 'setup.cfg')
    extras = extras['options.extras_require']
    for command in INSTALLS:
        (named,) = re.fullmatch(
            r"pip install -c constraints.txt -e '\.\[(\w+)\]'", command
        ).groups()
        tried = extras['openmmlab'] + extras['dev']
        assert set(extras[named].split()) <= set(tried.split()), named


def test_the_chinese_page_has_no_other_commands():
    assert set(commands_of('README_zh-CN.md')) <= set(COMMANDS)


@pytest.fixture(scope='module')
def sandbox(tmp_path_factory):
    root = tmp_path_factory.mktemp('readme')
    skipped = shutil.ignore_patterns('__pycache__', '.mim')
    for name in ('configs', 'tools', 'mbv2_backbone'):
        shutil.copytree(ROOT / name, root / name, ignore=skipped)
    drawn = tmp_path_factory.mktemp('drawn') / 'dataset'
    generate_sample(drawn, num_train=24, num_val=8, size=96)
    convert(drawn, root / 'data' / 'yolo', to='yolo')
    shutil.copytree(drawn / 'sample_crops', root / 'data' / 'sorted')
    (root / 'images').mkdir()
    for path in (drawn / 'JPEGImages').glob('val_*.jpg'):
        shutil.copy(path, root / 'images')
    site = Site()
    catalogue, archives = small_catalogue()
    site.files.update({f'/{name}': content for name, content in archives.items()})
    served = {
        name: tuple(
            dataclasses.replace(archive, addresses=(f'{site.url}/{archive.name}',))
            for archive in catalogue[name]
        )
        for name in FETCHED
    }
    (root / 'catalogue').write_bytes(pickle.dumps(served))
    with (root / 'mbv2_backbone/workbench/data/public/catalogue.py').open(
        'a', encoding='utf-8'
    ) as file:
        file.write(
            'import pickle\n'
            f'CATALOGUE |= pickle.loads(Path({str(root / "catalogue")!r}).read_bytes())\n'
        )
    keep_weights(root)
    yield root
    site.close()


def keep_weights(root):
    """Pass random weights off as torchvision's published ones, as if they had been downloaded."""
    path = root / 'torch/hub/checkpoints' / MobileNet_V2_Weights.IMAGENET1K_V1.url.split('/')[-1]
    path.parent.mkdir(parents=True)
    torch.save(mobilenet_v2().state_dict(), path)
    with (root / 'mbv2_backbone/weights/sources.py').open('a', encoding='utf-8') as file:
        file.write('\n\ndef _is_intact(path, wanted):\n    return path.is_file()\n')


def is_reached(command, root, output):
    """Return whether a long command has done what the next ones need."""
    if '--serve' in command:
        return 'http://' in output
    config = Path(re.search(r'configs/(\S+)\.py', command)[1]).stem
    if config == 'mine':
        return any((root / 'work_dirs' / config).glob('best_*.pth'))
    return 'Checkpoints will be saved to' in output


@pytest.mark.slow
@pytest.mark.parametrize('command', TOOLS)
def test_a_command_does_what_the_page_says(command, sandbox):
    binaries = os.pathsep.join([str(Path(sys.executable).parent), os.environ['PATH']])
    env = os.environ | dict(
        PATH=binaries, PYTHONPATH=str(sandbox), no_proxy='127.0.0.1', OMP_NUM_THREADS='1',
        PYTHONUNBUFFERED='1', TORCH_HOME=str(sandbox / 'torch'),
    )  # fmt: skip
    process = subprocess.Popen(
        shlex.split(command), cwd=sandbox, env=env, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    lines = []
    reader = threading.Thread(target=lambda: lines.extend(process.stdout))
    reader.start()
    is_long = ('train.py' in command and '--explain' not in command) or '--serve' in command
    is_stopped, until = False, time.monotonic() + LIMIT
    while process.poll() is None and time.monotonic() < until:
        if is_long and not is_stopped and is_reached(command, sandbox, ''.join(lines)):
            is_stopped = True
            process.send_signal(signal.SIGINT if '--serve' in command else signal.SIGTERM)
        time.sleep(0.2)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # and its child processes
    reader.join()
    output = ''.join(lines)[-4000:]
    assert is_stopped == is_long, output
    if '--serve' in command:
        assert 'Traceback' not in output, output
    elif not is_stopped:
        assert process.returncode == 0, output
    else:
        config = Path(re.search(r'configs/(\S+)\.py', command)[1]).stem
        assert (sandbox / 'work_dirs' / config / 'last_checkpoint').is_file(), output
