"""Processes that share one run, as torchrun or another launcher starts them; `group` needs torch, `launch` does not."""
