"""Ensembles by mathematics: members' estimates, Gram matrices, weights, ablation."""
