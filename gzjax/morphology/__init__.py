"""Decision trees, votes and the labels that are made of them."""
