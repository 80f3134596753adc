"""One file per method: what is minimised. Each makes an objective for `training.fit`."""
