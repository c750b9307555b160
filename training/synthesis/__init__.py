"""Composes, sings and renders the demo tracks and the training audio of the demo models."""
