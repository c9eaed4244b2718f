"""What the packets of options, live text, events and detailed results say (`data.py`); `util.py` frames them."""
