"""How long an iteration takes on how many GPUs and cores: a model from the parts that can be measured.

What passes from part to part::

    parts.Parts          seconds of a control step, an image, a forward pass, an update; each with its source
        |                measure.py times those of this machine, assumptions.py has those of GPUs,
        |                gpu_results.py replaces them by what ``python -m benchmarks.gpu`` has measured
        v
    model.predict        a Workload on a Cluster: seconds of each part of an iteration
        v
    check.py, report.py  the model against finished runs; the table and the plots of docs/scaling.md
"""
