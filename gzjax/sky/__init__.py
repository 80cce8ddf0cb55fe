"""A synthetic sky with volunteers who look at it."""
