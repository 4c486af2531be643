"""First contact: checks of the machine, the sign-in, Earth Engine, the output and the Prefect server.

Each check compares one assumption of this project with what is found. A check never raises an error and has a
deadline. What a check finds is shown without secrets, and without names of the user, the project or the output.
"""
