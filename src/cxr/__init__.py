"""Detection of 14 pathologies in chest X-rays (NIH ChestX-ray14).

Research software, not a medical device.
"""

__version__ = "0.1.0"
