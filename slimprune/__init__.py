"""Slim vision models, proven and measured."""
