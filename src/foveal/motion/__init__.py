"""Motion masks from ordinary video, without any learning: uNLC.

Pathak, Girshick, Dollár, Darrell, Hariharan, "Learning Features by Watching Objects Move", CVPR
2017, after Faktor and Irani, "Video Segmentation by Non-Local Consensus Voting", BMVC 2014, with
every trained part removed. A video is cut into shots (``shots``); every frame of a shot into
regions, each with a descriptor (``regions``); regions link to those that look alike in frames
nearby (``voting``); flow says what moves against the rest (``saliency``); that first guess is voted
on along the links. ``segment`` does one shot, ``make`` a folder of videos.
"""
