"""Where work runs: on this machine, on a Dask cluster, or as jobs of Slurm, behind one protocol (`engine.Engine`).

Nothing is kept in an engine. What is done stands with whoever submitted it, under the key of the work; what is not is
submitted again, after whatever died (`work.complete`). Of the engines, `opening` imports the one that is asked for.
"""
