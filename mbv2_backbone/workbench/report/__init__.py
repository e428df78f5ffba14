"""The report after an evaluation, and the curves of a training."""
