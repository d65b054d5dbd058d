"""Everything of this project that wants a GPU, in one command: ``python -m benchmarks.gpu``.

What passes from part to part::

    catalogue.ITEMS          what to measure, the most valuable first, with the minutes it takes
        |
    run.run_items            what is not done yet and fits the budget, one after the other
        |  process.run       each in a process of its own, with a time limit
        |     measure        in that process: ``items/NAME.py``, whose figures are written as they come
        v
    results.Results          ``gpu-CARD.json``, written whole after each item
        v
    summary, tables          a table on the screen and in Markdown; the table of ``docs/gpu.md``
"""
