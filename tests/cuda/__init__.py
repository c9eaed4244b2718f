"""What runs on a card, checked without one: needs torch's CUDA build, which `make check-cuda` installs for itself."""
