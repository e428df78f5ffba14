"""Find broken images before training where that is cheap; replace the others as they turn up."""

from __future__ import annotations

import os.path as osp
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, TRANSFORMS
from mmengine.runner import Runner

from ...annotations.images import BrokenSampleError, can_be_decoded, read_image_facts
from ...common.files import append_line
from ...common.messages import UserError, first_lines, warn
from ..configs.plan import step
from ..configs.read import datasets_of
from .box_counts import refuse_nothing_to_learn
from .image_files import check_samples, samples_of

RECORD = 'broken_images.txt'
MAX_BROKEN = 0.05  # largest share of the training images that may be broken


class BrokenImages:
    """The broken images that a run found, in a file that all its processes share.

    Args:
        record: The file, with one line per image: its path, a tab and what is wrong.
    """

    def __init__(self, record: str) -> None:
        self.record = Path(record)
        self._unwritten: dict[str, str] = {}

    def add(self, path: str, problem: str) -> None:
        """Record an image; if the disk is full, in this process only."""
        if path in self.problems():
            return
        try:
            self.record.parent.mkdir(parents=True, exist_ok=True)
            append_line(f'{path}\t{problem}', self.record)
        except OSError as error:
            self._unwritten[path] = problem
            warn(
                f'{path} {problem}, and could not be noted in {self.record} ({error}). Training '
                f'continues, and may not count this image. Free some disk space.'
            )

    def problems(self) -> dict[str, str]:
        """Return what is wrong with the images recorded so far, by path."""
        lines: list[str] = []
        if self.record.exists():
            lines = self.record.read_text(encoding='utf-8').splitlines()
        noted = {path: problem for path, _, problem in (line.partition('\t') for line in lines)}
        return noted | self._unwritten

    def size(self) -> int:
        """Return the file's size in bytes, a cheap way to see whether images were added."""
        return self.record.stat().st_size if self.record.exists() else 0


@TRANSFORMS.register_module()
class ReplaceBrokenImages:
    """Runs a pipeline; a sample whose image or mask is broken is replaced by another one.

    The broken file is added to `record`, from which `BrokenImagesHook` logs it once per run,
    whichever process found it.

    Args:
        steps: The pipeline.
        record: File that names the broken images.
    """

    def __init__(self, *, steps: Sequence[dict], record: str) -> None:
        self.pipeline = Compose(steps)
        self.broken = BrokenImages(record)

    def __call__(self, results: dict) -> dict | None:
        """Return the pipeline's result for a sample; `None` asks mmengine for another sample."""
        paths = [results[key] for key in ('img_path', 'seg_map_path') if results.get(key)]
        try:
            return self.pipeline(results)
        except BrokenSampleError as error:
            problem = decode_problem(paths[0]) or str(error)
            path = paths[0]
        except Exception:
            # A decoder may raise anything; a bug of ours must not be blamed on the file.
            found = ((path, decode_problem(path)) for path in paths)
            path, problem = next((pair for pair in found if pair[1]), (None, None))
            if path is None:
                raise
        self.broken.add(path, problem)
        return None

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.pipeline!r})'


def decode_problem(path: str) -> str | None:
    """Return why an image or mask cannot be decoded; `None` if it can or is not on this machine."""
    if '://' in path:
        return None
    facts = read_image_facts(path)
    if facts.error:
        return facts.error
    return None if can_be_decoded(path) else 'cannot be decoded'


def forget_broken_images(work_dir: str) -> None:
    """Delete the record of broken images of an earlier run in the same work directory."""
    Path(work_dir, RECORD).unlink(missing_ok=True)


@step('image checks', 'Broken images are reported before training, and counted during it.')
def watch_images(cfg: Config) -> None:
    """Make a run check the headers of its images.

    `max_broken_images` in the config is the share of training images that may be broken, by
    default 0.05. `check_images = False` skips the check before the first iteration.
    """
    hook = dict(
        type='BrokenImagesHook',
        record=osp.join(cfg.work_dir, RECORD),
        max_share=cfg.get('max_broken_images', MAX_BROKEN),
        check_first=cfg.get('check_images', True),
    )
    others = [h for h in cfg.get('custom_hooks') or [] if h.get('type') != hook['type']]
    cfg.custom_hooks = [*others, hook]


@step('broken images', 'An unreadable image is replaced by another.')
def replace_broken(cfg: Config) -> None:
    """Wrap the training pipelines of a config in `ReplaceBrokenImages`.

    This includes the pipelines that mmdet's `PipelineSwitchHook` switches to later.
    """
    record = osp.join(cfg.work_dir, RECORD)
    switches = [h for h in cfg.get('custom_hooks') or [] if h.get('switch_pipeline')]
    owners = [(dataset, 'pipeline') for dataset in datasets_of(cfg, ('train',))]
    for owner, key in [*owners, *((switch, 'switch_pipeline') for switch in switches)]:
        steps = owner.get(key) or []
        if steps and steps[0].get('type') == 'ReplaceBrokenImages':  # wrapped for another run
            steps = steps[0]['steps']
        if steps:
            owner[key] = [dict(type='ReplaceBrokenImages', steps=steps, record=record)]


@HOOKS.register_module()
class BrokenImagesHook(Hook):
    """Checks the images before the first iteration, and ends a run with too many broken ones.

    Evaluation images must all be readable: metrics of fewer images would not be comparable.

    Args:
        record: File that names the broken images of the run.
        max_share: Share of the training images that may be broken; in [0, 1].
        check_first: Whether to read the headers of all images first. The results are cached in
            the folder of `record`, by file time and size.
    """

    priority = 'VERY_HIGH'

    def __init__(self, *, record: str, max_share: float, check_first: bool) -> None:
        self.broken = BrokenImages(record)
        self.cache = Path(record).with_name('images.json')
        self.max_share = max_share
        self.check_first = check_first
        self._num_images = 0
        self._seen_size = 0
        self._named: set[str] = set()

    def before_train(self, runner: Runner) -> None:
        """Check the training and validation images.

        Raises:
            UserError: If too many are broken, or their annotations have nothing to learn from.
        """
        to_train = samples_of(runner.train_loop.dataloader.dataset)
        refuse_nothing_to_learn('train', to_train)
        self._num_images = len({sample['img_path'] for sample in to_train})
        if not self.check_first or not is_main_process():
            return
        for path, problem in self._check(to_train).items():
            self.broken.add(path, problem)
        self._name_and_count()
        if runner.val_loop is not None:
            to_validate = samples_of(runner.val_loop.dataloader.dataset)
            refuse_nothing_to_learn('val', to_validate)
            self._refuse_any(to_validate)

    def before_test(self, runner: Runner) -> None:
        """Check the test images.

        Raises:
            UserError: If one is broken.
        """
        if self.check_first and is_main_process():
            self._refuse_any(samples_of(runner.test_loop.dataloader.dataset))

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Check whether the loader workers found broken images.

        Raises:
            UserError: If there are now too many.
        """
        del runner, batch_idx, data_batch, outputs
        if is_main_process() and self.broken.size() != self._seen_size:
            self._name_and_count()

    def _name_and_count(self) -> None:
        self._seen_size = self.broken.size()
        problems = self.broken.problems()
        for path in problems.keys() - self._named:
            warn(f'{path} {problems[path]}; another image replaces it')
            self._named.add(path)
        count = len(problems)
        if self._num_images and count > self.max_share * self._num_images:
            raise UserError(
                f'{count} of {self._num_images} training images are broken, more than '
                f'max_broken_images={self.max_share} in the config allows; they are listed in '
                f'{self.broken.record}. Fix them, or remove them from the annotations'
            )

    def _refuse_any(self, samples: Sequence[dict]) -> None:
        broken = self._check(samples)
        if broken:
            lines = [f'{len(broken)} of {len(samples)} evaluation images are broken:']
            named = [f'{path} {problem}' for path, problem in broken.items()]
            lines += first_lines(named)
            lines.append('Fix them, or remove them from the annotations.')
            raise UserError('\n'.join(lines))

    def _check(self, samples: Sequence[dict]) -> dict[str, str]:
        broken, notes = check_samples(samples, self.cache)
        for note in notes:
            warn(note)
        return broken
