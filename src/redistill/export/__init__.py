"""A trained network for elsewhere: a folder of its own, ONNX, torch.export, int8."""
