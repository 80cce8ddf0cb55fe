"""What a network is to learn, example by example."""
