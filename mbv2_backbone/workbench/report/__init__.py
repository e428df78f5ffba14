"""The evaluation report and the training curves."""
