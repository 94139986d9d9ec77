"""Evaluation: how well an installed model answers its prompts on images whose truth somebody wrote down. Needs no node and no archive."""
