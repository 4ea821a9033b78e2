"""Reports of results and of progress. No module here computes a statistic.

text        numbers and foreign names as text
sentences   sentences about one evaluation, for the terminal and the page
terminal    the block at the end of a run, from a Summary and a RunStatus
comparison  one evaluation against another, from a RunComparison
profile     where the time went, from a Profile
power       how many episodes are needed, from the numbers
progress    the progress of a run, in numbers and in words
display     displays of that progress: plain lines, or live (module ``live``)
output      keeps the terminal for these displays
export      a Summary's episodes as CSV or Parquet
markdown    a RunInfo and a Summary, or RunComparisons, as Markdown
hub         a RunInfo and a Summary as the Hugging Face Hub shows them
junit       a Summary as a JUnit file
gate        decides whether a Summary's success rate is high enough
trackers    a RunInfo and a Summary in Weights & Biases, Trackio and TensorBoard
html        one page for several evaluations and their comparisons, from ReportRuns and RunComparisons

They have no interface in common, because they are given different things: an evaluation that goes on, one that is
finished, several to compare. What they share is what they are made from.
"""
