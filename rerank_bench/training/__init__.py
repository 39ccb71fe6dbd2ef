"""Training of cross-encoders: losses, examples, the trainer and its recipes.

Importing this package imports no torch.  How a checkpoint is evaluated while it is trained comes in as a function.
"""
