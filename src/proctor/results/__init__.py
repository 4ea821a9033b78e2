"""Everything between a finished episode and a report: the journal, merging, statistics and result files.

A report never sees a running evaluation, only what is read here from a run directory::

    run.json             what is evaluated: configuration, fingerprint, plan        run_info, fingerprint
    journal.jsonl        one line per finished episode (shards: journal_K_of_N)     journal, journal_writer, merge
    journal.actions.bin  the executed actions the lines refer to                    journal, journal_writer
    eval_info.json       the results, as LeRobot's users read them                  summary, eval_info

:mod:`proctor.results.run_dir` defines the names of all files; :mod:`proctor.results.session` is one run's use of them.
"""
