"""Disposable clusters in network namespaces, faults for them, and judges that stand outside.

A lab promises to touch nothing but namespaces and processes it made itself, and to remove them. It may not
take a daemon's word for anything: who owns an address is what the wire and a client say.
"""
