"""How the embedded detector came about: scenes drawn by a script, a YOLOv5 in PyTorch, its loss, training and scoring.

Needs torch, opencv-python, onnxruntime and, for the sample video, av. Nothing of it is needed to run the detector.
"""
