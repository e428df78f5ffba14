"""Builds the package with its configs and tools in `.mim`, where mmengine and mim look for them."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
CARRIED = ('configs', 'tools', 'model-index.yml')
LEFT_OUT = shutil.ignore_patterns('__pycache__', 'measure')  # maintainers measure in a checkout


class BuildWithMim(build_py):
    """Puts copies into a wheel, and links to the checkout where that is installed as it is."""

    def run(self) -> None:
        """Build, then fill `.mim` anew."""
        super().run()
        package = Path('' if self.editable_mode else self.build_lib, 'mbv2_backbone')
        mim = ROOT / package / '.mim'
        shutil.rmtree(mim, ignore_errors=True)
        mim.mkdir()
        for name in CARRIED:
            source, target = ROOT / name, mim / name
            if self.editable_mode:
                target.symlink_to(Path('..', '..', name))
            elif source.is_dir():
                shutil.copytree(source, target, ignore=LEFT_OUT)
            else:
                shutil.copy(source, target)


setup(cmdclass=dict(build_py=BuildWithMim))
