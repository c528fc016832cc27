"""Objects in boxes: Faster R-CNN on the maps of a network, measured as VOC and COCO do."""
