"""`python -m crmgate` runs the command line."""

from crmgate.cli import main

main(prog_name="crmgate")
