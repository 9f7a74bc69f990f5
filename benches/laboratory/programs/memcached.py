"""Speaks to memcached through `socket`: probe | work FILE | stop. Prints a digest of all its answers."""
import hashlib
import os
import signal
import socket
import struct
import sys
import threading

server = socket.socket(socket.AF_UNIX)
server.connect("socket")

if sys.argv[1] == "probe":
    server.sendall(b"version\r\n")
    sys.exit(not server.recv(100).startswith(b"VERSION"))

if sys.argv[1] == "stop":
    # Who is at the other end is the kernel's word; memcached ends well at SIGTERM.
    pid, _, _ = struct.unpack("3i", server.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    os.kill(pid, signal.SIGTERM)
    sys.exit(0)

commands = open(sys.argv[2], "rb").read()


def send():
    server.sendall(commands)
    server.sendall(b"quit\r\n")


sender = threading.Thread(target=send)
sender.start()
digest = hashlib.sha1()
while answer := server.recv(1 << 16):
    digest.update(answer)
sender.join()
print(digest.hexdigest())
