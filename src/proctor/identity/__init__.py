"""Whether something is the same as before: digests of code without a version, and of functions with all they hold."""
