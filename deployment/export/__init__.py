"""Trained networks for other programs: one file by torch.export or as ONNX, for images of any size.

modules.py is what a file computes, formats.py writes and reads a file of each format, half.py finds what half precision
cannot hold, exporting.py puts them together and checks the file against the network.
"""
