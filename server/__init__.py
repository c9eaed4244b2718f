"""The server's process: clients, their sessions, and which engine each of them has."""
