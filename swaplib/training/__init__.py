"""Training: models and their phases, one loop for all of them, and whole recipes from data to weights."""
