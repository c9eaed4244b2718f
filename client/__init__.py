"""What `tcp_client.py` is made of beside the session itself; standard library only.

errors.py       what can go wrong, as one tree
tls.py          a TLS connection that one thread reads while another writes
audio_files.py  recordings → PCM that can be sent
terminal.py     results, progress and hints for people
"""
