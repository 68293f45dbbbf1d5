"""Imported before coremltools: without a Mac it warns about every part of the Core ML runtime that it cannot load."""

import logging
import warnings

logging.disable(logging.WARNING)
warnings.filterwarnings("ignore")
