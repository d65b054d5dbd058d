"""The report of an evaluation, with its statements, figure, tables and videos."""
