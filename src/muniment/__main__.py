"""`python -m muniment`."""

from muniment.interfaces.cli.main import main

main()
