"""The packages of the wheel; everything else about the distribution is in setup.cfg.

The plugins that come with crmgate are in `plugins/` of the repository and in `crmgate/plugins/` of the wheel.
"""

from setuptools import find_packages, setup

SHIPPED = "crmgate.plugins"

setup(
    packages=[
        *find_packages(include=["crmgate", "crmgate.*"]),
        SHIPPED,
        *(f"{SHIPPED}.{name}" for name in find_packages("plugins")),
    ],
    package_dir={SHIPPED: "plugins"},
)
