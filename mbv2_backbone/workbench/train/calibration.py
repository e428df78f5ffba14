"""Give folded batch norms the statistics of the training images before the first step."""

from __future__ import annotations

from mmengine.dist import all_reduce, get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ...weights.folded_norms import calibrate, folded_norms
from ..configs.machine import bare_model

_MAX_IMAGES = 64  # of each process
_BATCH_SIZE = 8


class CalibrationHook(Hook):
    """Makes training go on from weights whose batch norms are folded; others are left alone."""

    def before_train(self, runner: Runner) -> None:
        """Look for folded norms once the weights are loaded."""
        model = bare_model(runner.model)
        norms = folded_norms(model)
        if not norms:
            return
        loader = runner.train_dataloader
        # A process without an image would never add its share.
        own = range(get_rank(), len(loader.dataset), get_world_size()) or range(1)
        indices = own[:: max(1, len(own) // _MAX_IMAGES)][:_MAX_IMAGES]

        def run() -> None:
            for first in range(0, len(indices), _BATCH_SIZE):
                items = [loader.dataset[i] for i in indices[first : first + _BATCH_SIZE]]
                batch = model.data_preprocessor(loader.collate_fn(items), True)
                model(**batch, mode='tensor')

        was_training = model.training
        model.eval()
        calibrate(norms, run, reduce=all_reduce)
        model.train(was_training)
        runner.logger.info(
            f'{len(norms)} batch norms were folded into their convolutions; they have the '
            f'statistics of training images now'
        )
