"""The subcommands of ``ttrl``, one a file, each with ``run(arguments) -> exit code``."""
