"""What a RoboTwin worker runs, in the interpreter that has the runtime.

That interpreter has no ttrl_env. It loads this folder as the package ``worker``, so modules in here import
each other relatively, and else only the standard library, NumPy and the runtime. Python 3.10 and 3.11 run it.
"""
