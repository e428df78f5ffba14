"""The minimum that must work on a combination of versions: train and predict, both tasks.

Uses only the installed package, its command and configs, on a small dataset in its own folder.
Prints the versions as JSON in the last line.
"""

import json
import platform
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    'torch', 'torchvision', 'numpy',
    'onedl-mmengine', 'onedl-mmcv', 'onedl-mmdetection', 'onedl-mmsegmentation',
    'mmengine', 'mmcv-lite', 'mmdet', 'mmsegmentation',
)  # fmt: skip
DETECTOR = 'mine.py'  # it inherits
SEGMENTOR = 'deeplabv3_mbv2_sample.py'  # an installed one


def tool(name: str, *args: object, cwd: str) -> None:
    command = [str(Path(sys.executable).with_name('mbv2')), name, *map(str, args)]
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    if result.returncode != 0:
        raise SystemExit(f'{" ".join(command)}\n{result.stdout[-3000:]}\n{result.stderr[-3000:]}')


def versions() -> dict[str, str]:
    found = dict(python=platform.python_version())
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def main() -> None:
    one_batch = ('train_dataloader.batch_size=4', 'train_dataloader.num_workers=0')
    one_batch += ('train_dataloader.persistent_workers=False', 'val_dataloader.num_workers=0')
    one_batch += ('val_dataloader.persistent_workers=False',)
    with tempfile.TemporaryDirectory() as folder:
        tool('data', 'sample', '--num-train', 8, '--num-val', 4, cwd=folder)
        Path(folder, DETECTOR).write_text("_base_ = 'mbv2_backbone::ssdlite_mbv2_sample.py'\n")
        options = ('train_cfg.max_epochs=1', 'train_cfg.val_interval=1')
        options += ('default_hooks.checkpoint.interval=1',)
        tool(
            'train',
            DETECTOR,
            '--work-dir',
            'det',
            '--cfg-options',
            *one_batch,
            *options,
            cwd=folder,
        )
        images = 'data/sample/JPEGImages/val_*.jpg'
        tool('predict', DETECTOR, 'det/epoch_1.pth', images, '--out', 'shown', cwd=folder)
        drawn = list(Path(folder, 'shown').rglob('*.jpg'))
        if len(drawn) != 4:
            raise SystemExit(f'expected 4 drawn images, found {drawn}')
        options = ('train_cfg.max_iters=2', 'train_cfg.val_interval=2')
        options += ('default_hooks.checkpoint.interval=2',)
        tool(
            'train',
            SEGMENTOR,
            '--work-dir',
            'seg',
            '--cfg-options',
            *one_batch,
            *options,
            cwd=folder,
        )
        if not Path(folder, 'seg', 'iter_2.pth').is_file():
            raise SystemExit('no checkpoint after two iterations of DeepLabV3')
    print(json.dumps(versions()))


if __name__ == '__main__':
    main()
