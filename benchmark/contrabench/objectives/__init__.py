"""Losses and heads that several methods share."""
