"""Policies: from observations to actions. :mod:`.base` is the contract; LeRobot checkpoints are in :mod:`.lerobot`."""
