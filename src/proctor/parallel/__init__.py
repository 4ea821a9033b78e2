"""One evaluation in several interpreters at once, the shards, on one machine or many.

- :mod:`~proctor.parallel.driver` is the process that owns the plan and the journal: ``proctor parallel``.
- :mod:`~proctor.parallel.shards` keeps the shards busy, and replaces those that die.
- :mod:`~proctor.parallel.scheduler` decides which shard runs which episode next.
- :mod:`~proctor.parallel.durations` predicts for it how long an episode takes.
- :mod:`~proctor.parallel.shard` is one shard: an engine that runs the episodes the driver sends.
- :mod:`~proctor.parallel.messages` is what the driver and a shard send each other.
- :mod:`~proctor.parallel.evaluator` runs the evaluations of a sweep in shards, one after another.
- :mod:`~proctor.parallel.launchers` start shards, at another kind of place each.
"""
