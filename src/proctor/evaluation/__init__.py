"""One evaluation, from its configuration to its result.

arguments      the Python arguments of an evaluation, checked and converted to fields
components     the benchmark and the policy, made from fields
identity       everything that the results depend on: fingerprint, code, provenance
capacity       how many simulators this machine can run at a time
prepared_run   a configuration with everything decided: components, plan, run directory
run            the three steps: measure, summarise, make videos
run_state      the episodes that have results, the progress, and the result that is written
videos         the choice of episodes that get a video, and making it by replay
terminal       the surroundings of work that a person waits for: display, log, Ctrl-C
determinism    the same episodes run in several ways and compared to the last bit
"""
