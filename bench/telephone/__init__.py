"""Speech through a telephone line: what of its errors is the server's."""
