"""One evaluation from its configuration to its result: prepared, measured, summarised, its videos made."""
