# Reads a log, counts, keeps objects, takes them through JSON and back, sorts, substitutes, builds and drops trees.
import json
import re
import sys
import zlib


class Entry:
    def __init__(self, host, method, path, status, length, words):
        self.host, self.method, self.path = host, method, path
        self.status, self.length, self.words = int(status), int(length), words


def read(name):
    with open(name) as log:
        for line in log:
            host, method, path, status, length, *words = line.split()
            yield Entry(host, method, path, status, length, words)


def tree(depth, label):
    return (label, [tree(depth - 1, label * 3 % 1009 + i) for i in range(3)]) if depth else (label, [])


def weight(node):
    return node[0] + sum(weight(child) for child in node[1])


entries = list(read(sys.argv[1]))
counts = {}
for entry in entries:
    for word in entry.words:
        counts[word] = counts.get(word, 0) + 1
hosts = {}
for entry in entries:
    hosts.setdefault(entry.host, []).append(entry)
text = json.dumps([{"host": e.host, "path": e.path.split("/"), "words": e.words} for e in entries])
again = json.loads(text)
number = re.compile(r"(\d)(\d)")
paths = sorted({number.sub(r"\2-\1", "/".join(e["path"])) for e in again})
total = 0
for label in range(3):
    total += weight(tree(8, label))
lines = ["%s %d" % (word, count) for word, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
print(len(entries), len(hosts), sum(e.length for e in entries), total)
print("%08x %08x" % (zlib.crc32("\n".join(paths).encode()), zlib.crc32("\n".join(lines).encode())))
