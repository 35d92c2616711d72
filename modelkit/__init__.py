"""Rebuild everything under `models/`: prune, fine-tune, quantise, fit and calibrate, evaluate, package."""
