"""``python -m deployments.sandbox.interpreter``: print the functions that the sandbox supports."""

from deployments.sandbox.interpreter.registry import FUNCTIONS, signatures

for name in sorted(FUNCTIONS):
    row = FUNCTIONS[name]
    print(f"{name}({', '.join(argument.name for argument in row.arguments[: row.taken])})")
print(f"\n{len(FUNCTIONS)} of Earth Engine's {len(signatures())} functions; If is one of the language's own.")
