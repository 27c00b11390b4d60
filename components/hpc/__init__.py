"""The tools behind `geoduct hpc`: what a supercomputing site is like, and whether this account is ready to run there.

No component: nothing here reads or writes artifacts. The batch scripts in `hpc/` and the launcher `slurm` read a site's
profile through this package.
"""
