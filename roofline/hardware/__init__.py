"""What a chip is: its descriptor, its figures by path, what-if, and the ranges of what is uncertain."""
