"""`python -m crmgate` is `crmgate`."""

from crmgate.cli import main

main(prog_name="crmgate")
