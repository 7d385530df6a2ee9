"""What the tests of haagent, and of arbiters made by others, are built from.

``clock`` a clock moved by hand, ``memory`` an arbiter in this process with faults to switch on, ``contract`` the suite
every arbiter must pass, ``histories`` what concurrent clients are told, recorded and judged. Ships with haagent;
nothing that runs in production imports it.
"""
