"""The report of an evaluation: what was played, what it shows and what it does not."""
