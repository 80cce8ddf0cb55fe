"""Where the time of a step goes: traces, ceilings and work, as numbers."""
