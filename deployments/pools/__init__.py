"""Work pools: what a run may choose of its process, container or job, and what is fixed."""
