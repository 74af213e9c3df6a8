"""Scores of translations: feature networks, distances, factor scores, and the protocol that asks for the outputs they are taken from."""
