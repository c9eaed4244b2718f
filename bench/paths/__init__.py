"""Whether every way that a processor may take writes as well as the others."""
