"""An Earth Engine endpoint on loopback, for machines with no account. It is reached by URL alone."""
