"""One module a flow: parameters, order of steps, nothing else."""
