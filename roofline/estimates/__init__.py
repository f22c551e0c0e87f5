"""Where time meets: operators on a chip, and what follows for a request."""
