"""What people read. A report is one file, takes a :class:`~proctor.results.summary.Summary`, and computes nothing."""
