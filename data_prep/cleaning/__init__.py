"""From the channels of a recording to electrodes at 200 Hz, piece by piece, and what is wrong with each second."""
