"""For tests, ours and a plug-in author's: a benchmark that fails on demand, and small real checkpoints made offline."""
