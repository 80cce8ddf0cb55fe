"""From a config to files: command line, checks, workdir and stages."""
