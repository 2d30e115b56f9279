"""Training: from labelled pictures to one ONNX bundle of a classifier and its Explainer. Never part of the wheel."""
