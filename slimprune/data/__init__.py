"""Built-in and user-defined data sets as normalised batches."""

from slimprune.data.augmentation import Augmentation
from slimprune.data.batches import Batch
from slimprune.data.data_files import data_files
from slimprune.data.image_data import ImageData
from slimprune.data.sources import SOURCES, data_sets, is_user_code, load, register
from slimprune.data.streamed_data import StreamedData
from slimprune.data.tensor_data import TensorData

__all__ = [
    "SOURCES",
    "Augmentation",
    "Batch",
    "ImageData",
    "StreamedData",
    "TensorData",
    "data_files",
    "data_sets",
    "is_user_code",
    "load",
    "register",
]
