"""Work pools: which settings of its process, container or job a run may choose, and which are fixed."""
