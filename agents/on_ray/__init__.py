"""``launcher=ray``: Ray Train starts the processes of a run, and starts them again when one dies.

::

    driver                                    a process of the run, of which Ray Train starts several
    launch.train_on_ray                       worker.run_worker
        | joins a cluster, checks it              | the run itself, as under torchrun
        v                                         v
    TorchTrainer.fit (Ray Train)  -- starts -->  training.train
        ^                                         |
        '--- relay.Relay (an actor) <-------------'  what to show; whether to stop; errors

Ray is imported inside functions, so that nothing else waits for it or needs it.
"""
