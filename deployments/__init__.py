"""How the project is put to work: the sandbox endpoint and the demo. Nothing imports this package."""
