"""Networks as ONNX files, each held against PyTorch before it gets its name."""
