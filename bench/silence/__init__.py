"""Sound in which nobody speaks, and short answers: what is sent of both."""
