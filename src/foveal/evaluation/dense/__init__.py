"""What is known of every pixel: segmentation, depth and surface normals, by a head on one map."""
