"""All that is not the plugin: training, evaluation, prediction, datasets, export, reports."""
