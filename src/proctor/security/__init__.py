"""Which code may run, with whose consent, what it may do to this process, and what must not be written down."""
