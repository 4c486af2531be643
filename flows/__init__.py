"""The flows, and what starts them: parameters, the order of steps, the command line. The steps are in `tasks`."""
