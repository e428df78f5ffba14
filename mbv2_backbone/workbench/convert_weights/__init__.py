"""Converting published weights to a checkpoint of ours, with proof."""
