"""Using a trained model: found by name, given pictures of any kind, from Python or from the command line."""
