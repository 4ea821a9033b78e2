"""The input audit: was the policy given what it was trained on?

observed    the sketches of a run's episodes, put together
reference   the training's side of a comparison
vectors     states: far away, constant, swapped, of another unit
images      channels against statistics, images against a dataset's images
actions     bounds, the training's range, the gripper, the executed part of a chunk
effects     what actions do to the state, here and in the dataset
texts       instructions
statistics  a checkpoint's statistics and the beginnings of episodes against a dataset
pictures    histograms and images to look at
examine     all of it, as one :class:`~proctor.results.audit.Audit`
runs        the audit of a run directory
"""
