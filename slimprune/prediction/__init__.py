"""Predictions of an exported network for image files, with nothing but onnxruntime, numpy and Pillow."""

from slimprune.prediction.image_files import find_images
from slimprune.prediction.masks import write_masks
from slimprune.prediction.predicting import ClassProbability, Prediction, predict

__all__ = ["ClassProbability", "Prediction", "find_images", "predict", "write_masks"]
