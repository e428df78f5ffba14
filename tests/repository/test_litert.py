"""What writes `.tflite` files is installed by hand until its requirements fit ours."""

import json
import re
import subprocess
import sys

import pytest
from helpers.paths import ROOT
from packaging.requirements import Requirement

PINS = (ROOT / 'constraints.txt').read_text()


@pytest.mark.slow
def test_litert_torch_still_refuses_our_torch():
    """Fails as soon as litert-torch allows the torch of `constraints.txt`.

    Then `litert.txt` can become an extra of `setup.cfg` that pip resolves.
    """
    command = [sys.executable, '-m', 'pip', 'install', '--dry-run', '--ignore-installed', '-q']
    command += ['--no-deps', '--report', '-', 'litert-torch']
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        pytest.skip(f'no package index: {result.stderr[-200:]}')
    (found,) = json.loads(result.stdout)['install']
    wanted = [Requirement(text) for text in found['metadata']['requires_dist']]
    (torch,) = [requirement for requirement in wanted if requirement.name == 'torch']
    newest = max(re.findall(r'^torch==([\d.]+)', PINS, re.M))
    assert not torch.specifier.contains(newest), (
        f'litert-torch {found["metadata"]["version"]} takes torch {newest}: make it an extra'
    )


def test_the_runtime_is_pinned_to_the_same_version_twice():
    (pin,) = re.findall(r'^ai-edge-litert==([\d.]+)', PINS, re.M)
    assert f'\nai-edge-litert=={pin}\n' in (ROOT / 'litert.txt').read_text()
