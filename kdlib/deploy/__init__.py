"""A trained model on devices: export, quantisation, parity with PyTorch, runtimes, latency, and the models of the book's live demo."""
