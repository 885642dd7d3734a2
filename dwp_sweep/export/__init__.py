"""Trained networks as files for other programs: MONAI bundles, ONNX, TorchScript, safetensors."""
