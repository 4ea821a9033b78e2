"""Identity: digests that tell if code without a version, or a function with all its values, is the same as before."""
