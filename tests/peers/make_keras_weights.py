"""Saves a Keras EfficientNetB0 with made-up weights in every format, an image as oxidet feeds it, and the features Keras finds.

usage: make_keras_weights.py FOLDER
"""

import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras
import numpy as np

os.chdir(sys.argv[1])
random = np.random.default_rng(0)
model = keras.applications.EfficientNetB0(weights=None, include_top=False, input_shape=(64, 96, 3))
for layer in model.layers:
    if isinstance(layer, keras.layers.BatchNormalization):
        n = layer.weights[0].shape[0]
        statistics = [random.uniform(0.5, 1.5, n), random.normal(0, 0.2, n), random.normal(0, 0.3, n), random.uniform(0.3, 2, n)]
        layer.set_weights(statistics)
    if isinstance(layer, keras.layers.Normalization):
        # What the weights of ImageNet come with.
        layer.mean = np.reshape([0.485, 0.456, 0.406], (1, 1, 1, 3))
        layer.variance = np.reshape(np.square([0.229, 0.224, 0.225]), (1, 1, 1, 3))
model.save("full.h5")
model.save("archive.keras")
model.save_weights("alone.weights.h5")

image = random.uniform(0, 255, (1, 64, 96, 3)).astype("float32")
blue_first = image[..., ::-1] - np.array([103.939, 116.779, 123.68], "float32")
np.ascontiguousarray(blue_first.transpose(0, 3, 1, 2)).tofile("input.f32")
np.ascontiguousarray(model.predict(image, verbose=0).transpose(0, 3, 1, 2)).tofile("features.f32")
