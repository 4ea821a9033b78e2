"""One evaluation in several interpreters at once, on one machine or many.

driver   owns the plan and the journal: `proctor parallel`
fleet    shards kept busy, replaced when they die
dealer   which shard runs which episodes next
shard    one of them: an engine that is dealt its episodes

How shards are started is a launcher's affair: :mod:`proctor.parallel.launchers`.
"""
