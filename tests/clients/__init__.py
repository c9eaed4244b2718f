"""Programs that use a published client as its documentation says, against the gateway.

Each runs in the clients' own environment (`make clients`) and prints what it got, one JSON value a line;
tests/harness/clients.py runs them.
"""
