"""What `tcp_client.py` is made of. Standard library only, but for media files and microphones.

session.py      one session with the server: StreamingClient
errors.py       what can go wrong, as one tree
tls.py          a TLS connection that one thread reads while another writes

For the command:

arguments.py    its options
sources.py      where audio comes from
audio_files.py  wav and raw files → audio that a server takes as it is
media.py        files of any other kind, through PyAV
microphone.py   through sounddevice
formats.py      results → text, JSON, subtitles
output.py       results → stdout or files
live_line.py    text that is still being said, on a terminal
terminal.py     results, progress and hints for people
"""
