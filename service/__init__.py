"""What the processes that run as services, server and gateway, need of the system.

checks.py        how often a check that costs something is made (pure)
descriptors.py   how many files may be open
exporter.py      figures for Prometheus
manager.py       what a service manager is told: ready, stopping, alive
"""
