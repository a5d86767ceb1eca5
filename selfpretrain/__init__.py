"""selfpretrain: does a task need web-scale pretraining, or is its own training text enough?"""

__version__ = "0.1.0"
