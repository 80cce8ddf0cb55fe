"""How good, how forgetful, how sure: numbers on the host in float64."""
